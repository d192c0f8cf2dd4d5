// The node console as a script sees it: a line with a request in, a line with the reply out.
#pragma once
#include "servers/init/control/output.hpp"
#include "servers/init/control/perform.hpp"
#include "servers/init/control/request.hpp"

namespace margay::init {

class ControlLine {
  public:
    explicit ControlLine(Operations& operations) : operations_{operations} {}

    // A byte was received. Empty lines are skipped: a client may begin with one, to end what an
    // earlier client left unfinished.
    void type(char c);
    Output& output() { return output_; }

  private:
    void answer();

    Operations& operations_;
    Output output_;
    Text<max_request_bytes> line_;
    bool is_too_long_ = false;
    Performed performed_;
};

}  // namespace margay::init

// The node console as a script sees it: a line with a request in, a line with the reply out; and between them frames
// with the pieces of modules.
#pragma once
#include "proto/frame.hpp"
#include "servers/init/control/answered.hpp"
#include "servers/init/control/output.hpp"
#include "servers/init/control/perform.hpp"
#include "servers/init/control/request.hpp"

namespace margay::init {

class ControlLine {
  public:
    // Requests that wait for their end. Each names another VM: a VM does one thing at a time.
    static constexpr unsigned max_pending = 32;

    explicit ControlLine(Operations& operations) : operations_{operations} {}

    // A byte was received, of a line or of a frame. Empty lines are skipped: a client may begin with one, to end what an
    // earlier client left unfinished.
    void type(char c);
    Output& output() { return output_; }
    // Answers what was begun and is done by now. There is room for one more answer in the output then.
    void look();
    // Answers what was begun and is not done, from now on without waiting for it. As for look(), there must be room.
    void give_up(std::string_view why);
    // No further request can be taken before one is answered.
    bool is_busy() const { return pending_count_ == max_pending; }

  private:
    using Pending = Answer;

    void take_text(char c);
    void take_frame();
    void answer();
    bool answer_again(const Request& request);
    void reply(const Request& request, const Performed& performed);
    void drop(unsigned pending);
    void write(const Request& request, const Performed& performed);

    Operations& operations_;
    Output output_;
    frame::Reader reader_;
    Text<max_request_bytes> line_;
    DefinitionText definition_;  // of the request at hand
    bool is_too_long_ = false;
    Pending pending_[max_pending];  // the oldest first
    unsigned pending_count_ = 0;
    Answered answered_;  // of sealed requests
};

}  // namespace margay::init

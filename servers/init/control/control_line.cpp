#include "servers/init/control/control_line.hpp"

#include "servers/init/control/reply.hpp"

namespace margay::init {

void ControlLine::type(char c) {
    if (c != '\n' && c != '\r') {
        is_too_long_ |= line_.is_full();
        line_(c);
        return;
    }
    if (is_too_long_)
        write_error(output_, Request{}, "a request has at most 1024 bytes");
    else if (!line_.empty())
        answer();
    line_.clear();
    is_too_long_ = false;
}

void ControlLine::answer() {
    Request request;
    ErrorText error;
    if (!parse_request(line_.view(), request, error))
        return write_error(output_, request, error.view());
    perform(operations_, request.command, performed_);
    if (!performed_.good) return write_error(output_, request, performed_.error.view());
    write_result(output_, request, operations_, performed_);
}

}  // namespace margay::init

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
        write_error(output_, Request{}, FailureKind::usage, "a request has at most 65536 bytes");
    else if (!line_.empty())
        answer();
    line_.clear();
    is_too_long_ = false;
}

void ControlLine::answer() {
    Pending& p = pending_[pending_count_];
    p = Pending{};
    ErrorText error;
    if (!parse_request(line_.view(), p.request, definition_, error))
        return write_error(output_, p.request, FailureKind::usage, error.view());
    perform(operations_, p.request.command, p.performed);
    if (p.performed.pending)
        ++pending_count_;
    else
        reply(p.request, p.performed);
}

void ControlLine::reply(const Request& request, const Performed& performed) {
    if (!performed.good)
        return write_error(output_, request, performed.kind, performed.error.view());
    write_result(output_, request, operations_, performed);
}

void ControlLine::look() {
    for (unsigned i = 0; i < pending_count_ && output_.empty();) {
        Pending& p = pending_[i];
        go_on(operations_, p.request.command, p.performed);
        if (p.performed.pending) {
            ++i;
            continue;
        }
        reply(p.request, p.performed);
        --pending_count_;
        for (unsigned k = i; k < pending_count_; ++k) pending_[k] = pending_[k + 1];
    }
}

}  // namespace margay::init

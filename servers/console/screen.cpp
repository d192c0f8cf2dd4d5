#include "servers/console/screen.hpp"

namespace margay::console {

namespace {
// What one step may put: a line with its server's name.
constexpr unsigned step_room = LogLine::max_bytes + 64;
}  // namespace

void Screen::put(char c) {
    out_.put(c);
    at_line_start_ = c == '\n';
}

void Screen::say(std::string_view text) {
    for (const char c : text) put(c);
}

void Screen::say_number(std::uint64_t n) {
    char digits[20];
    unsigned count = 0;
    do digits[count++] = static_cast<char>('0' + n % 10);
    while ((n /= 10) != 0);
    while (count != 0) put(digits[--count]);
}

void Screen::say_lost() {
    if (!at_line_start_) say("\r\n");
    say("[");
    say_number(lost_ != 0 ? lost_ : lost_input_);
    say(lost_ != 0 ? " bytes of output were dropped: nobody took them]\r\n"
                   : " bytes that were typed were dropped: nobody took them]\r\n");
    (lost_ != 0 ? lost_ : lost_input_) = 0;
}

// Lines of servers never break into each other, nor into a terminal's line. The name is the console's: no
// server can speak in another one's.
void Screen::put_line(const LogLine& line) {
    if (!at_line_start_) say("\r\n");
    if (channels_.has(line.server) && (channels_.flags(line.server) & channel_flag::trusted) == 0) {
        say("[");
        say(channels_.name(line.server));
        say("] ");
    }
    say(line.view());
    say("\r\n");
}

void Screen::keep() {
    if (out_.is_stuck()) return;
    if (channels_.is_terminal(attached_)) channels_.history(attached_).keep(position_);
    if (with_log_) channels_.log().keep(log_position_);
}

// The next line of a server, if the terminal's output that comes before it has been shown.
bool Screen::show_line() {
    LogBook::Position next = log_position_;
    LogLine line;
    bool lost = false;
    if (!with_log_ || !channels_.log().read(next, line, lost)) return false;
    if (lost) lost_ += channels_.log().begin() - log_position_;
    if (line.terminal == attached_ && channels_.is_terminal(attached_) && position_ < line.behind &&
        position_ < channels_.history(attached_).end())
        return false;
    log_position_ = next;
    put_line(line);
    return true;
}

bool Screen::show() {
    bool any = false;
    while (out_.room() >= step_room) {
        TerminalHistory* const terminal =
            channels_.is_terminal(attached_) ? &channels_.history(attached_) : nullptr;
        if (terminal != nullptr) lost_ += terminal->catch_up(position_);
        if (!out_.is_stuck() && lost_ + lost_input_ != 0)
            say_lost();
        else if (show_line())
            ;
        else if (terminal != nullptr && position_ < terminal->end())
            put(terminal->at(position_++));
        else
            break;
        any = true;
    }
    return any;
}

void Screen::attach(unsigned index) {
    if (!channels_.is_terminal(index)) return;
    if (attached_ != no_channel) shown_[attached_] = position_;
    lost_input_ += typed_.used();
    typed_.clear();
    attached_ = index;
    was_attached_ = true;
    channels_.order_with(index);
    position_ = shown_[index];
    (void)channels_.history(index).catch_up(position_);
    say("\r\n[console of ");
    say(channels_.name(index));
    say("; Ctrl-] n: next]\r\n");
}

void Screen::look_for_terminal() {
    if (channels_.is_terminal(attached_)) return;
    const bool at_start = !was_attached_;
    for (unsigned i = 0; i < channels_.limit(); ++i) {
        if (!channels_.is_terminal(i)) continue;
        if ((channels_.flags(i) & channel_flag::detached) != 0) continue;
        if (!at_start) return attach(i);
        attached_ = i;
        was_attached_ = true;
        channels_.order_with(i);
        position_ = 0;
        return;
    }
}

void Screen::forget(unsigned index) {
    shown_[index] = 0;
    if (index != attached_) return;
    typed_.clear();
    attached_ = no_channel;
}

void Screen::type(char c) {
    if (c == escape && !escape_pending_) {
        escape_pending_ = true;
        return;
    }
    if (escape_pending_) {
        escape_pending_ = false;
        if (c != escape) {
            hand_over();
            return attach(channels_.next_terminal(attached_));
        }
    }
    if (typed_.room() == 0) {
        ++lost_input_;
        return;
    }
    typed_.put(c);
}

// As far as the terminal takes it.
bool Screen::hand_over() {
    bool any = false;
    for (; !typed_.is_empty() && channels_.type(attached_, typed_.front()); any = true)
        typed_.pop();
    return any;
}

bool Screen::pass_on(std::uint64_t now) {
    const bool any = hand_over();
    if (any || typed_.is_empty()) typed_since_ = now;
    is_deaf_ = now - typed_since_ >= patience_ms;
    return any;
}

}  // namespace margay::console

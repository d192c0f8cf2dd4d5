#include "servers/console/screen.hpp"

namespace margay::console {

namespace {
// What one step may put: a line with its server's name.
constexpr unsigned step_room = LogLine::max_bytes + 64;
}  // namespace

void Screen::put(char c) {
    out_->put(c);
    view_.at_line_start = c == '\n';
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
    if (!view_.at_line_start) say("\r\n");
    say("[");
    say_number(view_.lost != 0 ? view_.lost : view_.lost_input);
    say(view_.lost != 0 ? " bytes of output were dropped: nobody took them]\r\n"
                        : " bytes that were typed were dropped: nobody took them]\r\n");
    (view_.lost != 0 ? view_.lost : view_.lost_input) = 0;
}

// Lines of servers never break into each other, nor into a terminal's line. The name is the console's: no
// server can speak in another one's.
void Screen::put_line(const LogLine& line) {
    if (!view_.at_line_start) say("\r\n");
    if (channels_->has(line.server) &&
        (channels_->flags(line.server) & channel_flag::trusted) == 0) {
        say("[");
        say(channels_->name(line.server));
        say("] ");
    }
    say(line.view());
    say("\r\n");
}

void Screen::keep() {
    if (out_->is_stuck()) return;
    if (channels_->is_terminal(view_.attached))
        channels_->history(view_.attached).keep(view_.position);
    if (with_log_) channels_->log().keep(view_.log_position);
}

// The next line of a server, if the terminal's output that comes before it has been shown. until: otherwise, where that
// ends.
bool Screen::show_line(std::uint64_t& until) {
    LogBook::Position next = view_.log_position;
    LogLine line;
    bool lost = false;
    if (!with_log_ || !channels_->log().read(next, line, lost)) return false;
    if (lost) view_.lost += channels_->log().begin() - view_.log_position;
    if (line.terminal == view_.attached && channels_->is_terminal(view_.attached) &&
        view_.position < line.behind && view_.position < until) {
        if (line.behind < until) until = line.behind;
        return false;
    }
    view_.log_position = next;
    put_line(line);
    return true;
}

// One line, or what there is of the terminal's bytes.
bool Screen::show_some() {
    TerminalHistory* const terminal =
        channels_->is_terminal(view_.attached) ? &channels_->history(view_.attached) : nullptr;
    if (terminal != nullptr) view_.lost += terminal->catch_up(view_.position);
    if (!out_->is_stuck() && view_.lost + view_.lost_input != 0) {
        say_lost();
        return true;
    }
    std::uint64_t until = terminal != nullptr ? terminal->end() : 0;
    if (show_line(until)) return true;
    if (terminal == nullptr || view_.position >= until) return false;
    for (; view_.position < until && out_->room() >= step_room; ++view_.position)
        put(terminal->at(view_.position));
    return true;
}

bool Screen::show() {
    bool any = false;
    while (out_->room() >= step_room) {
        undo_->save(view_);
        undo_->save(out_->ends());
        const bool some = show_some();
        undo_->commit();
        if (!some) break;
        any = true;
    }
    return any;
}

void Screen::attach(unsigned index) {
    if (!channels_->is_terminal(index)) return;
    undo_->save(view_);
    undo_->save(out_->ends());
    undo_->save(typed_.ends());
    if (view_.attached < max_channels) undo_->save(shown_[view_.attached]);
    show_other(index);
    undo_->commit();
}

void Screen::show_other(unsigned index) {
    if (view_.attached < max_channels) shown_[view_.attached] = view_.position;
    view_.lost_input += typed_.used();
    typed_.clear();
    view_.attached = index;
    view_.was_attached = true;
    channels_->order_with(index);
    view_.position = shown_[index];
    TerminalHistory& history = channels_->history(index);
    (void)history.catch_up(view_.position);
    if (view_.position > history.end()) view_.position = history.end();
    say("\r\n[console of ");
    say(channels_->name(index));
    say("; Ctrl-] n: next]\r\n");
}

void Screen::resume(Channels& channels, Outgoing& out, Undo& undo, bool with_log) {
    channels_ = &channels;
    out_ = &out;
    undo_ = &undo;
    with_log_ = with_log;
    typed_.make_sound();
    for (bool* flag :
         {&view_.at_line_start, &view_.escape_pending, &view_.is_deaf, &view_.was_attached})
        make_sound(*flag);
    for (unsigned i = 0; i < max_channels; ++i)
        if (!channels.is_terminal(i)) shown_[i] = 0;
    if (view_.log_position > channels.log().end()) view_.log_position = channels.log().end();
    if (!channels.is_terminal(view_.attached)) {
        view_.attached = no_channel;
        typed_.clear();
        return;
    }
    channels.order_with(view_.attached);
    const std::uint64_t end = channels.history(view_.attached).end();
    if (view_.position > end) view_.position = end;
}

void Screen::look_for_terminal() {
    if (channels_->is_terminal(view_.attached)) return;
    const bool at_start = !view_.was_attached;
    for (unsigned i = 0; i < channels_->limit(); ++i) {
        if (!channels_->is_terminal(i)) continue;
        if ((channels_->flags(i) & channel_flag::detached) != 0) continue;
        if (!at_start) return attach(i);
        view_.attached = i;
        view_.was_attached = true;
        channels_->order_with(i);
        view_.position = 0;
        return;
    }
}

void Screen::forget(unsigned index) {
    shown_[index] = 0;
    if (index != view_.attached) return;
    typed_.clear();
    view_.attached = no_channel;
}

void Screen::type(char c) {
    if (view_.escape_pending && c != escape) {
        (void)hand_over();
        undo_->save(view_);
        view_.escape_pending = false;
        if (const unsigned next = channels_->next_terminal(view_.attached);
            channels_->is_terminal(next)) {
            undo_->save(out_->ends());
            undo_->save(typed_.ends());
            if (view_.attached < max_channels) undo_->save(shown_[view_.attached]);
            show_other(next);
        }
        return;
    }
    undo_->save(view_);
    undo_->save(typed_.ends());
    if (c == escape && !view_.escape_pending) {
        view_.escape_pending = true;
        return;
    }
    view_.escape_pending = false;
    if (typed_.room() == 0)
        ++view_.lost_input;
    else
        typed_.put(c);
}

// As far as the terminal takes it.
bool Screen::hand_over() {
    bool any = false;
    while (!typed_.is_empty() && channels_->hand(view_.attached, typed_)) any = true;
    return any;
}

bool Screen::pass_on(std::uint64_t now) {
    const bool any = hand_over();
    if (any || typed_.is_empty()) view_.typed_since = now;
    view_.is_deaf = now - view_.typed_since >= patience_ms;
    return any;
}

}  // namespace margay::console

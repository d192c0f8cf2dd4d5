#include "servers/console/multiplexer.hpp"

#include <utility>

namespace margay::console {

bool Multiplexer::add(const ChannelInfo& info, bool may_attach) {
    if (count_ == max_channels) return false;
    entries_[count_].info = info;
    if (attached_ == max_channels && may_attach && info.kind == ChannelKind::terminal)
        attached_ = count_;
    ++count_;
    return true;
}

void Multiplexer::put(char c) {
    sink_.put(c);
    at_line_start_ = c == '\n';
}

void Multiplexer::say(std::string_view text) {
    for (char c : text) put(c);
}

void Multiplexer::put_line(std::string_view line) {
    if (logs_ != nullptr) {
        for (const char c : line) logs_->put(c);
        logs_->put('\r');
        logs_->put('\n');
        return;
    }
    if (!at_line_start_) say("\r\n");
    say(line);
    say("\r\n");
}

// Lines of servers never break into each other or into a terminal's line.
void Multiplexer::put_log_byte(Entry& e, char c) {
    if (c != '\n') {
        e.line[e.line_length++] = c;
        if (e.line_length < line_bytes) return;
        e.is_cut = true;
    } else if (std::exchange(e.is_cut, false) && e.line_length == 0) {
        return;  // the line ended where it was cut
    }
    put_line({e.line, e.line_length});
    e.line_length = 0;
}

void Multiplexer::keep(Entry& e, char c) {
    e.history[e.history_next] = c;
    e.history_next = (e.history_next + 1) % history_bytes;
    if (e.history_length < history_bytes) ++e.history_length;
}

bool Multiplexer::drain() {
    // Terminals first: what init says about a guest's end comes after the guest's last words.
    const bool terminals = drain(ChannelKind::terminal);
    return drain(ChannelKind::log) || terminals;
}

bool Multiplexer::drain(ChannelKind kind) {
    bool any = false;
    // The last first: init, which speaks about all others, is the first channel.
    for (unsigned i = count_; i-- > 0;) {
        Entry& e = entries_[i];
        if (e.info.kind != kind) continue;
        // At most one ring's worth per turn, so that a client that never stops starves nobody.
        char c;
        for (unsigned n = 0; n < 16384 && e.info.channel->output.get(c); ++n) {
            any = true;
            if (e.info.kind == ChannelKind::log)
                put_log_byte(e, c);
            else if (i == attached_)
                put(c);
            else
                keep(e, c);
        }
    }
    return any;
}

void Multiplexer::attach(unsigned index) {
    if (index >= count_ || entries_[index].info.kind != ChannelKind::terminal) return;
    attached_ = index;
    Entry& e = entries_[index];
    say("\r\n[console of ");
    say(e.info.name);
    say("; Ctrl-] n: next]\r\n");
    const unsigned first = (e.history_next + history_bytes - e.history_length) % history_bytes;
    for (unsigned i = 0; i < e.history_length; ++i) put(e.history[(first + i) % history_bytes]);
    e.history_length = 0;
}

int Multiplexer::type(char c) {
    if (c == escape && !escape_pending_) {
        escape_pending_ = true;
        return -1;
    }
    if (escape_pending_) {
        escape_pending_ = false;
        if (c != escape) {
            for (unsigned step = 1; step <= count_; ++step) {
                const unsigned i = (attached_ + step) % count_;
                if (entries_[i].info.kind != ChannelKind::terminal) continue;
                attach(i);
                break;
            }
            return -1;
        }
    }
    if (attached_ >= count_) return -1;
    return entries_[attached_].info.channel->input.put(c) ? static_cast<int>(attached_) : -1;
}

void Multiplexer::doorbells(bool wanted) {
    for (unsigned i = 0; i < count_; ++i)
        entries_[i].info.channel->wants_doorbell.store(wanted ? 1 : 0);
}

bool Multiplexer::all_empty() const {
    for (unsigned i = 0; i < count_; ++i)
        if (!entries_[i].info.channel->output.is_empty()) return false;
    return true;
}

}  // namespace margay::console

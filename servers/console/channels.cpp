#include "servers/console/channels.hpp"

namespace margay::console {

namespace {
constexpr unsigned stamp_size = 8;
// So many bytes of each terminal, and so many lines in all, before the serial lines are looked at again.
constexpr std::uint64_t turn_bytes = 2048;
constexpr unsigned turn_lines = 16;
}  // namespace

bool Channels::add(unsigned index, ChannelKind kind, std::string_view name, std::uint32_t flags,
                   ConsoleChannel& memory) {
    if (index >= max_channels || entries_[index].memory != nullptr) return false;
    if (kind == ChannelKind::control && control_ != no_channel) return false;
    unsigned history = no_history;
    if (kind == ChannelKind::terminal) {
        history = 0;
        while (history < max_terminals && history_used_[history]) ++history;
        if (history == max_terminals) return false;
        history_used_[history] = true;
        histories_[history].clear();
    }
    Entry& e = entries_[index];
    e = Entry{};
    e.memory = &memory;
    e.kind = kind;
    e.flags = flags;
    e.history = history;
    std::size_t n = 0;
    for (; n < name.size() && n + 1 < sizeof(e.name); ++n) e.name[n] = name[n];
    e.name[n] = 0;
    e.line.length = 0;
    if (kind == ChannelKind::control) control_ = index;
    if (index >= limit_) limit_ = index + 1;
    return true;
}

void Channels::remove(unsigned index) {
    if (!has(index)) return;
    Entry& e = entries_[index];
    if (e.history != no_history) history_used_[e.history] = false;
    if (index == control_) control_ = no_channel;
    if (index == ordered_with_) ordered_with_ = no_channel;
    e.memory = nullptr;
    while (limit_ != 0 && entries_[limit_ - 1].memory == nullptr) --limit_;
}

std::string_view Channels::name(unsigned index) const {
    const char* name = entries_[index].name;
    std::size_t n = 0;
    while (name[n] != 0) ++n;
    return {name, n};
}

unsigned Channels::find(ChannelKind kind, std::string_view wanted) const {
    for (unsigned i = 0; i < limit_; ++i)
        if (has(i) && entries_[i].kind == kind && name(i) == wanted) return i;
    return no_channel;
}

unsigned Channels::next_terminal(unsigned behind) const {
    if (limit_ == 0) return no_channel;
    const unsigned first = behind < limit_ ? behind + 1 : 0;
    for (unsigned step = 0; step < limit_; ++step)
        if (const unsigned i = (first + step) % limit_; is_terminal(i)) return i;
    return no_channel;
}

void Channels::begin_turn() {
    for (unsigned i = 0; i < limit_; ++i)
        if (is_terminal(i)) history(i).keep_nothing();
    log_.keep_nothing();
}

// Lines first: terminals' bytes that were there before a line are in the same cycle.
bool Channels::begin_cycle() {
    bool any = false;
    for (const bool terminals : {false, true}) {
        for (unsigned i = 0; i < limit_; ++i) {
            Entry& e = entries_[i];
            if (!has(i) || e.kind == ChannelKind::control || is_terminal(i) != terminals) continue;
            auto& ring = e.memory->output;
            e.quota = ring.used();
            char c;
            // A corrupt ring is made empty.
            if (e.quota == 0 && !ring.is_empty()) (void)ring.get(c);
            e.had_output = e.quota != 0;
            any |= e.had_output;
        }
    }
    return any;
}

bool Channels::move(std::uint64_t now) {
    if (!in_cycle_) in_cycle_ = begin_cycle();
    if (!in_cycle_) return false;
    bool moved = move_terminals();
    for (unsigned i = 0; i < limit_; ++i)
        if (is_terminal(i) && entries_[i].quota != 0) return moved;
    bool more = false;
    moved |= move_lines(now, more);
    if (more) return moved;
    in_cycle_ = false;
    for (unsigned i = 0; i < limit_; ++i) {
        Entry& e = entries_[i];
        if (!has(i) || !e.had_output) continue;
        e.had_output = false;
        if ((e.flags & channel_flag::tells_room) != 0 && e.memory->output.is_empty())
            clients_.notify(i);
    }
    return moved;
}

bool Channels::move_terminals() {
    bool moved = false;
    for (unsigned i = 0; i < limit_; ++i) {
        Entry& e = entries_[i];
        if (e.quota == 0 || !is_terminal(i)) continue;
        TerminalHistory& to = history(i);
        std::uint64_t room = to.room();
        if (room > turn_bytes) room = turn_bytes;
        char c;
        for (; room != 0 && e.quota != 0; --room, --e.quota) {
            if (!e.memory->output.get(c)) {
                e.quota = 0;
                break;
            }
            to.put(c);
            moved = true;
        }
    }
    return moved;
}

// The line's time: the one that was put before it, or now. Never from the future, nor before the line in
// front of it.
void Channels::begin_line(Entry& e, std::uint64_t now) {
    std::uint64_t stamp = e.stamp_bytes == 0 ? e.next_stamp : 0;
    if (stamp == 0 || stamp > now) stamp = now;
    if (e.is_cut || stamp < e.last_stamp) stamp = e.last_stamp;
    e.line.stamp = e.last_stamp = stamp;
    e.next_stamp = 0;
    e.has_c2 = false;
}

// Control characters are question marks, so that no line moves the cursor; those of C1 in UTF-8 as well.
void Channels::put_text(Entry& e, char c) {
    const auto byte = static_cast<unsigned char>(c);
    const bool harmful = (byte < 32 && c != '\t') || byte == 127 || (e.has_c2 && byte < 0xa0);
    e.has_c2 = byte == 0xc2;
    e.line.text[e.line.length++] = harmful ? '?' : c;
}

// Takes bytes until a line is whole.
void Channels::gather(Entry& e, std::uint64_t now) {
    while (!e.is_whole && e.quota != 0) {
        char c;
        if (!e.memory->output.get(c)) {
            e.quota = 0;
            return;
        }
        --e.quota;
        if (e.stamp_bytes != 0) {
            e.next_stamp = e.next_stamp >> 8 | std::uint64_t{static_cast<unsigned char>(c)} << 56;
            --e.stamp_bytes;
        } else if (c == log_stamp) {
            // In the midst of a line: its end had no room in the ring.
            e.is_whole = e.line.length != 0;
            e.is_cut = false;
            e.next_stamp = 0;
            e.stamp_bytes = stamp_size;
        } else if (c == '\n') {
            const bool is_rest = e.is_cut && e.line.length == 0;  // the line ended where it was cut
            if (!is_rest && e.line.length == 0) begin_line(e, now);
            e.is_whole = !is_rest;
            e.is_cut = false;
        } else {
            if (e.line.length == 0) begin_line(e, now);
            put_text(e, c);
            e.is_whole = e.is_cut = e.line.length == LogLine::max_bytes;
        }
    }
}

// The oldest of all lines that are whole goes first. more: lines are left in this cycle.
bool Channels::move_lines(std::uint64_t now, bool& more) {
    bool moved = false;
    for (unsigned n = 0;; ++n) {
        unsigned oldest = no_channel;
        for (unsigned i = 0; i < limit_; ++i) {
            Entry& e = entries_[i];
            if (!has(i) || e.kind != ChannelKind::log) continue;
            if (e.quota != 0) moved = true;
            gather(e, now);
            if (e.is_whole && (oldest == no_channel || e.line.stamp < entries_[oldest].line.stamp))
                oldest = i;
        }
        more = oldest != no_channel;
        if (!more || n == turn_lines || !log_.has_room()) return moved;
        Entry& e = entries_[oldest];
        e.line.server = oldest;
        e.line.terminal = ordered_with_;
        e.line.behind = ordered_with_ == no_channel ? 0 : history(ordered_with_).end();
        log_.add(e.line);
        e.line.length = 0;
        e.is_whole = false;
        moved = true;
    }
}

bool Channels::type(unsigned index, char c) {
    if (!is_terminal(index)) return true;  // for nobody
    ConsoleChannel& memory = *entries_[index].memory;
    if (!memory.input.put(c)) {
        memory.wants_room.store(1);
        // It may have taken everything before it saw that.
        if (!memory.input.put(c)) return false;
    }
    clients_.notify(index);
    return true;
}

void Channels::doorbells(bool wanted) {
    for (unsigned i = 0; i < limit_; ++i)
        if (has(i)) entries_[i].memory->wants_doorbell.store(wanted ? 1 : 0);
}

}  // namespace margay::console

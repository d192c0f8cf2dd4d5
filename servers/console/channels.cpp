#include "servers/console/channels.hpp"

namespace margay::console {

namespace {
constexpr unsigned stamp_size = 8;
// So many bytes of each terminal, and so many lines in all, before the serial lines are looked at again.
constexpr std::uint64_t turn_bytes = 2048;
constexpr unsigned turn_lines = 16;
}  // namespace

void Channels::set(Entry& e, ChannelKind kind, std::string_view name, std::uint32_t flags,
                   ConsoleChannel& memory) {
    e.memory = &memory;
    e.kind = kind;
    e.flags = flags;
    std::size_t n = 0;
    for (; n < name.size() && n + 1 < sizeof(e.name); ++n) e.name[n] = name[n];
    e.name[n] = 0;
}

bool Channels::add(unsigned index, ChannelKind kind, std::string_view name, std::uint32_t flags,
                   ConsoleChannel& memory, std::uint32_t since) {
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
    set(e, kind, name, flags, memory);
    e.history = history;
    e.taken = memory.output.tail();
    e.line.length = 0;
    if (kind == ChannelKind::control) control_ = index;
    if (index >= limit_) limit_ = index + 1;
    std::atomic_signal_fence(std::memory_order_release);
    e.since = since;
    return true;
}

void Channels::remove(unsigned index) {
    if (index >= max_channels) return;
    Entry& e = entries_[index];
    e.since = 0;
    std::atomic_signal_fence(std::memory_order_release);
    if (e.history < max_terminals) history_used_[e.history] = false;
    e.history = no_history;
    if (index == control_) control_ = no_channel;
    if (index == ordered_with_) ordered_with_ = no_channel;
    e.memory = nullptr;
    while (limit_ != 0 && entries_[limit_ - 1].memory == nullptr) --limit_;
}

void Channels::begin_resume(Clients& clients, Undo& undo) {
    clients_ = &clients;
    undo_ = &undo;
    limit_ = 0;
    control_ = no_channel;
    in_cycle_ = false;
    for (Entry& e : entries_) e.memory = nullptr;
    for (bool& used : history_used_) used = false;
}

void Channels::keep(unsigned index, ChannelKind kind, std::string_view name, std::uint32_t flags,
                    ConsoleChannel& memory) {
    Entry& e = entries_[index];
    const bool is_terminal = kind == ChannelKind::terminal;
    if (is_terminal ? e.history >= max_terminals || history_used_[e.history]
                    : e.history != no_history)
        return remove(index);
    if (is_terminal) history_used_[e.history] = true;
    if (kind == ChannelKind::control) control_ = index;
    set(e, kind, name, flags, memory);
    if (index >= limit_) limit_ = index + 1;
}

bool Channels::resume(void* state, std::uint64_t size) {
    // The client has the byte, or it has not.
    const unsigned handed = handing_.index;
    if (has(handed) && entries_[handed].memory->input.head() == handing_.head + 1) undo_->commit();
    handing_.index = no_channel;
    const bool sound = undo_->roll_back(state, size);
    log_.make_sound();
    if (!is_terminal(ordered_with_)) ordered_with_ = no_channel;
    for (unsigned i = 0; i < limit_; ++i) {
        Entry& e = entries_[i];
        if (!has(i)) continue;
        e.quota = 0;
        e.had_output = false;
        if (e.line.length > LogLine::max_bytes) e.line.length = 0;
        Reading& r = e.reading;
        for (bool* flag : {&r.is_whole, &r.is_cut, &r.has_c2}) make_sound(*flag);
        if (r.stamp_bytes > stamp_size) r.stamp_bytes = 0;
        // What is stored here is taken; whoever waits for that, or for what was typed, is told once more.
        (void)waiting(e);
        e.memory->output.release(taken(e));
        clients_->notify(i);
    }
    return sound;
}

// Of a terminal, it moves with the history's end: that is one store.
std::uint32_t Channels::taken(const Entry& e) const {
    if (e.kind != ChannelKind::terminal) return e.taken;
    return e.taken + static_cast<std::uint32_t>(histories_[e.history].end());
}

// A corrupt ring is made empty.
void Channels::skip(Entry& e) const {
    e.taken += e.memory->output.head() - taken(e);
    e.memory->output.release(taken(e));
}

// Bytes that can be taken.
std::uint32_t Channels::waiting(Entry& e) const {
    // The client may have written over it: it would find no room for ever.
    if (e.memory->output.tail() != taken(e)) e.memory->output.release(taken(e));
    const std::uint32_t ahead = e.memory->output.head() - taken(e);
    if (ahead <= e.memory->output.capacity) return ahead;
    skip(e);
    return 0;
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
            e.quota = waiting(e);
            // A client that wrote over it would find its ring full, and ring for nobody.
            if (e.memory->output.tail() != taken(e)) e.memory->output.release(taken(e));
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
            clients_->notify(i);
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
        std::uint32_t at = taken(e);
        char c;
        for (; room != 0 && e.quota != 0; --room, --e.quota) {
            if (!e.memory->output.peek(at, c)) {
                skip(e);
                e.quota = 0;
                break;
            }
            to.put(c);
            ++at;
            moved = true;
        }
        e.memory->output.release(taken(e));
    }
    return moved;
}

// The line's time: the one that was put before it, or now. Never from the future, nor before the line in
// front of it.
void Channels::begin_line(Entry& e, std::uint64_t now) {
    Reading& r = e.reading;
    std::uint64_t stamp = r.stamp_bytes == 0 ? r.next_stamp : 0;
    if (stamp == 0 || stamp > now) stamp = now;
    if (r.is_cut || stamp < r.last_stamp) stamp = r.last_stamp;
    e.line.stamp = r.last_stamp = stamp;
    r.next_stamp = 0;
    r.has_c2 = false;
}

// Control characters are question marks, so that no line moves the cursor; those of C1 in UTF-8 as well.
void Channels::put_text(Entry& e, char c) {
    const auto byte = static_cast<unsigned char>(c);
    const bool harmful =
        (byte < 32 && c != '\t') || byte == 127 || (e.reading.has_c2 && byte < 0xa0);
    e.reading.has_c2 = byte == 0xc2;
    e.line.text[e.line.length++] = harmful ? '?' : c;
}

// Takes bytes until a line is whole.
void Channels::gather(Entry& e, std::uint64_t now) {
    if (e.reading.is_whole || e.quota == 0) return;
    undo_->save(e.line.stamp);
    undo_->save(e.line.length);
    undo_->save(e.reading);
    undo_->save(e.taken);
    read_line(e, now);
    undo_->commit();
    e.memory->output.release(e.taken);
}

void Channels::read_line(Entry& e, std::uint64_t now) {
    Reading& r = e.reading;
    while (!r.is_whole && e.quota != 0) {
        char c;
        if (!e.memory->output.peek(e.taken, c)) {
            skip(e);
            e.quota = 0;
            return;
        }
        ++e.taken;
        --e.quota;
        if (r.stamp_bytes != 0) {
            r.next_stamp = r.next_stamp >> 8 | std::uint64_t{static_cast<unsigned char>(c)} << 56;
            --r.stamp_bytes;
        } else if (c == log_stamp) {
            // In the midst of a line: its end had no room in the ring.
            r.is_whole = e.line.length != 0;
            r.is_cut = false;
            r.next_stamp = 0;
            r.stamp_bytes = stamp_size;
        } else if (c == '\n') {
            const bool is_rest = r.is_cut && e.line.length == 0;  // the line ended where it was cut
            if (!is_rest && e.line.length == 0) begin_line(e, now);
            r.is_whole = !is_rest;
            r.is_cut = false;
        } else {
            if (e.line.length == 0) begin_line(e, now);
            put_text(e, c);
            r.is_whole = r.is_cut = e.line.length == LogLine::max_bytes;
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
            if (e.reading.is_whole &&
                (oldest == no_channel || e.line.stamp < entries_[oldest].line.stamp))
                oldest = i;
        }
        more = oldest != no_channel;
        if (!more || n == turn_lines || !log_.has_room()) return moved;
        Entry& e = entries_[oldest];
        e.line.server = oldest;
        e.line.terminal = ordered_with_;
        e.line.behind = ordered_with_ == no_channel ? 0 : history(ordered_with_).end();
        undo_->save(log_.saved_end());
        undo_->save(e.line.length);
        undo_->save(e.reading.is_whole);
        log_.add(e.line);
        e.line.length = 0;
        e.reading.is_whole = false;
        undo_->commit();
        moved = true;
    }
}

bool Channels::has_input_room(unsigned index) {
    if (!has(index)) return true;  // for nobody
    ConsoleChannel& memory = *entries_[index].memory;
    if (memory.input.room() != 0) return true;
    memory.wants_room.store(1);
    // It may have taken everything before it saw that.
    return memory.input.room() != 0;
}

void Channels::begin_hand(unsigned index) {
    if (!has(index)) return;
    handing_.head = entries_[index].memory->input.head();
    std::atomic_signal_fence(std::memory_order_release);
    handing_.index = index;
    std::atomic_signal_fence(std::memory_order_release);
}

void Channels::end_hand(unsigned index, char c) {
    std::atomic_signal_fence(std::memory_order_release);
    if (has(index)) (void)entries_[index].memory->input.put(c);
    undo_->commit();
    handing_.index = no_channel;
    if (has(index)) clients_->notify(index);
}

void Channels::doorbells(bool wanted) {
    for (unsigned i = 0; i < limit_; ++i)
        if (has(i)) entries_[i].memory->wants_doorbell.store(wanted ? 1 : 0);
}

}  // namespace margay::console

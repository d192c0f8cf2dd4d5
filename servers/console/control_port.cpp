#include "servers/console/control_port.hpp"

namespace margay::console {

namespace {

// What a step of a stream may put.
constexpr unsigned text_bytes = 512;
constexpr unsigned frame_room = frame::header_bytes + text_bytes + frame::crc_bytes;

bool take_prefix(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

// A line as it is sent: "[   12.345678] name: text\n".
class Text {
  public:
    void put(char c) {
        if (length_ < sizeof(bytes_)) bytes_[length_++] = c;
    }
    void put(std::string_view s) {
        for (const char c : s) put(c);
    }
    void put_number(std::uint64_t n, unsigned width, char fill) {
        char digits[20];
        unsigned count = 0;
        do digits[count++] = static_cast<char>('0' + n % 10);
        while ((n /= 10) != 0);
        for (unsigned i = count; i < width; ++i) put(fill);
        while (count != 0) put(digits[--count]);
    }
    std::string_view view() const { return {bytes_, length_}; }
    unsigned room() const { return sizeof(bytes_) - length_; }

  private:
    char bytes_[text_bytes];
    unsigned length_ = 0;
};

constexpr unsigned line_room = LogLine::max_bytes + 64;

bool is_part_of_name(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-';
}

// Whether the text has the name as a word.
bool mentions(std::string_view text, std::string_view name) {
    for (std::size_t at = 0; at + name.size() <= text.size(); ++at) {
        std::string_view rest = text;
        rest.remove_prefix(at);
        if (!rest.starts_with(name)) continue;
        if (at != 0 && is_part_of_name(text[at - 1])) continue;
        if (rest.size() == name.size() || !is_part_of_name(rest[name.size()])) return true;
    }
    return false;
}

// In the order of Why.
constexpr std::string_view whys[] = {"", "too many streams are open", "there is no such VM",
                                     "a stream is a console, log or follow", "the VM is gone"};

}  // namespace

ControlPort::Stream* ControlPort::find(std::uint16_t id) {
    for (Stream& s : streams_)
        if (s.kind != Kind::none && s.id == id) return &s;
    return nullptr;
}

unsigned ControlPort::streams() const {
    unsigned count = 0;
    for (const Stream& s : streams_) count += s.kind != Kind::none;
    return count;
}

void ControlPort::send(char type, std::uint16_t stream, std::string_view payload) {
    frame::write([this](char c) { out_->put(c); }, type, stream, payload);
}

void ControlPort::send_number(char type, std::uint16_t stream, std::uint64_t number) {
    if (number > 0xffff'ffff) number = 0xffff'ffff;
    char bytes[4];
    for (unsigned i = 0; i < sizeof(bytes); ++i) bytes[i] = static_cast<char>(number >> 8 * i);
    send(type, stream, {bytes, sizeof(bytes)});
}

void ControlPort::keep() {
    if (out_->is_stuck()) return;
    for (const Stream& s : streams_) {
        if (s.kind == Kind::terminal) channels_->history(s.channel).keep(s.position);
        if (s.kind == Kind::log && s.follows) channels_->log().keep(s.position);
    }
}

void ControlPort::end(Stream& s, char last_type, Why why) {
    s.kind = Kind::ending;
    s.last_type = last_type;
    s.why = why;
}

void ControlPort::open(std::uint16_t id, std::string_view what) {
    Stream* s = find(id);
    for (unsigned i = 0; i < max_streams && s == nullptr; ++i)
        if (streams_[i].kind == Kind::none) s = &streams_[i];
    const bool too_many = s == nullptr;
    if (too_many) s = &streams_[max_streams];
    *s = Stream{};
    s->id = id;
    if (too_many) return end(*s, frame::type::refused, Why::too_many);
    s->says_opened = true;
    if (take_prefix(what, "console ")) {
        s->channel = channels_->find(ChannelKind::terminal, what);
        if (s->channel == no_channel) return end(*s, frame::type::refused, Why::no_vm);
        s->kind = Kind::terminal;
        s->position = channels_->history(s->channel).begin();
        return;
    }
    s->follows = take_prefix(what, "follow");
    if (!s->follows && !take_prefix(what, "log"))
        return end(*s, frame::type::refused, Why::unknown);
    if (take_prefix(what, " ")) {
        s->channel = channels_->find(ChannelKind::log, what);
        if (s->channel == no_channel) return end(*s, frame::type::refused, Why::no_vm);
    }
    s->kind = Kind::log;
    s->position = channels_->log().begin();
    s->end = channels_->log().end();
}

void ControlPort::forget(unsigned index) {
    for (Stream& s : streams_)
        if ((s.kind == Kind::terminal || s.kind == Kind::log) && s.channel == index)
            end(s, frame::type::closed, Why::vm_gone);
}

void ControlPort::take_frame(std::uint64_t now) {
    heard_ = now;
    Stream* const s = find(reader_.stream());
    switch (reader_.type()) {
    case frame::type::reset:
        for (Stream& each : streams_) each.kind = Kind::none;
        return;
    case frame::type::open: return open(reader_.stream(), reader_.payload());
    case frame::type::close:
        if (s != nullptr && s->kind != Kind::ending) s->kind = Kind::none;
        return;
    case frame::type::data:
        if (s != nullptr && s->kind == Kind::terminal) {
            undo_->save(s->typed.ends());
            for (const char c : reader_.payload()) s->typed.put(c);
        }
        return;
    case frame::type::chunk:
        for (const char c : reader_.whole()) control_in_.put(c);
        return;
    default: return;
    }
}

bool ControlPort::has_room() { return control_in_.room() >= frame::max_frame; }

void ControlPort::receive(char c, std::uint64_t now) {
    undo_->save(reader_.progress());
    undo_->save(control_in_.ends());
    switch (reader_.take(c)) {
    case frame::Reader::Found::text: control_in_.put(c); return;
    case frame::Reader::Found::frame: return take_frame(now);
    default: return;
    }
}

bool ControlPort::pass_on(std::uint64_t now) {
    bool any = false;
    const unsigned control = channels_->control_index();
    while (!control_in_.is_empty() && channels_->hand(control, control_in_)) any = true;
    for (Stream& s : streams_) {
        if (s.kind != Kind::terminal) continue;
        while (!s.typed.is_empty() && channels_->hand(s.channel, s.typed, &s.granted)) any = true;
    }
    if (now - heard_ >= silence_ms)
        for (Stream& s : streams_) s.kind = Kind::none;
    return any;
}

bool ControlPort::show_terminal(Stream& s) {
    TerminalHistory& from = channels_->history(s.channel);
    s.lost += from.catch_up(s.position);
    if (s.lost != 0) {
        send_number(frame::type::lost, s.id, s.lost);
        s.lost = 0;
        return true;
    }
    Text text;
    while (text.room() != 0 && s.position != from.end()) text.put(from.at(s.position++));
    if (text.view().empty()) return false;
    send(frame::type::output, s.id, text.view());
    return true;
}

bool ControlPort::is_about(const Stream& s, const LogLine& line) const {
    if (s.channel == no_channel || line.server == s.channel) return true;
    return channels_->has(line.server) &&
           (channels_->flags(line.server) & channel_flag::trusted) != 0 &&
           mentions(line.view(), channels_->name(s.channel));
}

bool ControlPort::show_log(Stream& s) {
    Text text;
    LogLine line;
    bool lost = false;
    while (text.room() >= line_room && (s.follows || s.position < s.end) &&
           channels_->log().read(s.position, line, lost)) {
        if (lost && s.follows) ++s.lost;
        if (!is_about(s, line)) continue;
        const std::uint64_t us =
            line.stamp / tsc_khz_ * 1000 + line.stamp % tsc_khz_ * 1000 / tsc_khz_;
        text.put('[');
        text.put_number(us / 1'000'000, 5, ' ');
        text.put('.');
        text.put_number(us % 1'000'000, 6, '0');
        text.put("] ");
        if (channels_->has(line.server) &&
            (channels_->flags(line.server) & channel_flag::trusted) == 0) {
            text.put(channels_->name(line.server));
            text.put(": ");
        }
        text.put(line.view());
        text.put('\n');
    }
    if (!text.view().empty()) {
        send(frame::type::output, s.id, text.view());
        return true;
    }
    if (!s.follows && s.position >= s.end) end(s, frame::type::closed, Why::nothing);
    return s.kind == Kind::ending;
}

bool ControlPort::show_stream(Stream& s) {
    if (s.kind == Kind::none) return false;
    if (s.kind == Kind::ending) {
        send(s.last_type, s.id, whys[static_cast<unsigned>(s.why)]);
        s.kind = Kind::none;
        return true;
    }
    if (s.says_opened) {
        s.says_opened = false;
        send_number(frame::type::opened, s.id, window);
        return true;
    }
    if (s.granted != 0 && (s.granted >= window / 4 || s.typed.is_empty())) {
        send_number(frame::type::window, s.id, s.granted);
        s.granted = 0;
        return true;
    }
    return s.kind == Kind::terminal ? show_terminal(s) : show_log(s);
}

// Up to the end of a line or frame, as far as there is room. True if it has come to an end, or nothing is left.
bool ControlPort::move_supervisors(ConsoleChannel& control, bool& took) {
    std::uint32_t& taken = channels_->control_taken();
    char c;
    while (out_->room() != 0 && control.output.peek(taken, c)) {
        ++taken;
        took = true;
        out_->put(c);
        if (under_.header_left != 0) {
            under_.header[frame::header_bytes - under_.header_left--] = c;
            if (under_.header_left != 0) continue;
            const unsigned payload = frame::number_at(under_.header + 4, 2);
            under_.frame_left = (payload > frame::max_payload ? 0 : payload) + frame::crc_bytes;
            continue;
        }
        if (under_.frame_left != 0) {
            if (--under_.frame_left == 0) return true;
            continue;
        }
        if (!under_.in_line && c == frame::start) {
            under_.header_left = frame::header_bytes - 1;
            continue;
        }
        under_.in_line = c != '\n';
        if (!under_.in_line) return true;
    }
    return false;
}

// One line or frame of the supervisor's, as far as there is room. True if it is under way or was moved.
bool ControlPort::show_supervisor() {
    ConsoleChannel* const control = channels_->control();
    if (control == nullptr || control->output.is_empty()) return false;
    bool any = false;
    undo_->save(channels_->control_taken());
    undo_->save(under_);
    undo_->save(out_->ends());
    (void)move_supervisors(*control, any);
    undo_->commit();
    if (!any) return false;
    control->output.release(channels_->control_taken());
    if (control->output.is_empty()) clients_->notify(channels_->control_index());
    return true;
}

// The supervisor and all streams in turn, a line or a frame of each.
bool ControlPort::show() {
    bool any = false;
    for (bool moved = true; moved;) {
        moved = show_supervisor();
        if (under_.is_any()) {
            any |= moved;
            if (out_->room() == 0 || !moved) break;
            continue;
        }
        for (unsigned n = 0; n <= max_streams && out_->room() >= frame_room; ++n) {
            Stream& s = streams_[next_];
            next_ = (next_ + 1) % (max_streams + 1);
            if (s.kind == Kind::none) continue;
            undo_->save(s.course());
            undo_->save(out_->ends());
            moved |= show_stream(s);
            undo_->commit();
        }
        any |= moved;
        if (out_->room() < frame_room) break;
    }
    return any;
}

void ControlPort::resume(Channels& channels, Outgoing& out, Clients& clients, Undo& undo,
                         std::uint64_t tsc_khz) {
    channels_ = &channels;
    out_ = &out;
    clients_ = &clients;
    undo_ = &undo;
    tsc_khz_ = tsc_khz;
    next_ %= max_streams + 1;
    reader_.make_sound();
    control_in_.make_sound();
    make_sound(under_.in_line);
    if (under_.header_left >= frame::header_bytes) under_.header_left = 0;
    if (under_.frame_left > frame::max_payload + frame::crc_bytes) under_.frame_left = 0;
    for (Stream& s : streams_) {
        make_sound(s.follows);
        make_sound(s.says_opened);
        s.typed.make_sound();
        if (s.kind > Kind::ending) s.kind = Kind::none;
        if (s.why > Why::vm_gone) s.why = Why::nothing;
        const std::uint64_t last = s.kind == Kind::terminal && channels.is_terminal(s.channel)
                                       ? channels.history(s.channel).end()
                                       : channels.log().end();
        if (s.position > last) s.position = last;
        const bool of_a_vm =
            s.kind == Kind::terminal || (s.kind == Kind::log && s.channel != no_channel);
        const ChannelKind kind =
            s.kind == Kind::terminal ? ChannelKind::terminal : ChannelKind::log;
        if (of_a_vm && !channels.is(s.channel, kind)) end(s, frame::type::closed, Why::vm_gone);
    }
}

}  // namespace margay::console

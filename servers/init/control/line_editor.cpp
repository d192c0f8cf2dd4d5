#include "servers/init/control/line_editor.hpp"

namespace margay::init {

namespace {
constexpr char bell = 7, escape_byte_value = 27, delete_byte = 127;
constexpr char ctrl(char letter) { return static_cast<char>(letter & 31); }
bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }
}  // namespace

LineEditor::Event LineEditor::type(char c) {
    if (is_done_) {
        is_done_ = false;
        line_.clear();
    }
    // A terminal may send both at the end of a line.
    const bool second_half = was_return_ && c == '\n';
    was_return_ = c == '\r';
    if (second_half) return Event::none;
    if (escape_ == Escape::none) return type_plain(c);
    escape_byte(c);
    return Event::none;
}

LineEditor::Event LineEditor::type_plain(char c) {
    switch (c) {
    case '\r':
    case '\n':
        say("\r\n");
        remember();
        shown_ = 0;
        is_done_ = true;
        return Event::line;
    case ctrl('C'):
        say("^C\r\n");
        line_.clear();
        shown_ = 0;
        return Event::cancelled;
    case ctrl('H'):
    case delete_byte: erase_character(); return Event::none;
    case ctrl('U'): erase_line(); return Event::none;
    case escape_byte_value: escape_ = Escape::begun; return Event::none;
    case '\t': c = ' '; break;
    default: break;
    }
    if (static_cast<unsigned char>(c) < 32) return Event::none;
    if (line_.is_full()) {
        output_(bell);
        return Event::none;
    }
    line_(c);
    output_(c);
    return Event::none;
}

// Of ESC [ … letter, only the arrows up and down mean something; the rest is swallowed.
void LineEditor::escape_byte(char c) {
    if (escape_ == Escape::begun) {
        escape_ = c == '[' || c == 'O' ? Escape::sequence : Escape::none;
        return;
    }
    if (c >= '0' && c <= '?') return;
    escape_ = Escape::none;
    if (c == 'A' && shown_ < kept_count_) recall(shown_ + 1);
    if (c == 'B' && shown_ > 0) recall(shown_ - 1);
}

void LineEditor::erase_character() {
    if (line_.empty()) return;
    // All bytes of a character beyond ASCII, which has one place on the screen.
    while (line_.view().size() > 1 && is_continuation(line_.view().back())) line_.pop();
    line_.pop();
    say("\b \b");
}

void LineEditor::erase_line() {
    while (!line_.empty()) erase_character();
}

void LineEditor::recall(unsigned age) {
    erase_line();
    shown_ = age;
    if (age == 0) return;
    line_ = kept_[(kept_next_ + kept_lines - age) % kept_lines];
    say(line_.view());
}

void LineEditor::remember() {
    if (line_.empty()) return;
    const unsigned last = (kept_next_ + kept_lines - 1) % kept_lines;
    if (kept_count_ != 0 && kept_[last].view() == line_.view()) return;
    kept_[kept_next_] = line_;
    kept_next_ = (kept_next_ + 1) % kept_lines;
    if (kept_count_ < kept_lines) ++kept_count_;
}

}  // namespace margay::init

#include "servers/init/control/line_editor.hpp"

namespace margay::init {

namespace {
constexpr char bell = 7, escape_byte_value = 27, delete_byte = 127;
constexpr std::string_view clear_rest = "\x1b[K", clear_screen = "\x1b[H\x1b[2J";
constexpr char ctrl(char letter) { return static_cast<char>(letter & 31); }
bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }
bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
}  // namespace

LineEditor::Event LineEditor::type(char c) {
    if (is_done_) {
        is_done_ = false;
        length_ = cursor_ = 0;
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
        length_ = cursor_ = shown_ = 0;
        return Event::cancelled;
    case ctrl('A'): move_to(0); return Event::none;
    case ctrl('B'): move_to(before(cursor_)); return Event::none;
    case ctrl('D'): erase_to(behind(cursor_)); return Event::none;
    case ctrl('E'): move_to(length_); return Event::none;
    case ctrl('F'): move_to(behind(cursor_)); return Event::none;
    case ctrl('H'):
    case delete_byte: erase_to(before(cursor_)); return Event::none;
    case ctrl('K'): erase_to(length_); return Event::none;
    case ctrl('L'):
        say(clear_screen);
        say(prompt_);
        say(line());
        show_rest();
        return Event::none;
    case ctrl('N'): recall(shown_ > 0 ? shown_ - 1 : 0); return Event::none;
    case ctrl('P'): recall(shown_ < kept_count_ ? shown_ + 1 : shown_); return Event::none;
    case ctrl('U'): erase_to(0); return Event::none;
    case ctrl('W'): erase_to(word_before()); return Event::none;
    case escape_byte_value: escape_ = Escape::begun; return Event::none;
    case '\t':
        if (completions_ != nullptr) {
            complete();
            return Event::none;
        }
        c = ' ';
        break;
    default: break;
    }
    if (static_cast<unsigned char>(c) >= 32) insert(c);
    return Event::none;
}

// ESC [ number letter, or ESC O letter. What means nothing here is swallowed.
void LineEditor::escape_byte(char c) {
    if (escape_ == Escape::begun) {
        escape_ = c == '[' || c == 'O' ? Escape::sequence : Escape::none;
        escape_number_ = 0;
        return;
    }
    if (c >= '0' && c <= '9' && escape_number_ < 1000)
        escape_number_ = escape_number_ * 10 + static_cast<unsigned>(c - '0');
    if (c >= '0' && c <= '?') return;
    escape_ = Escape::none;
    switch (c) {
    case 'A': return recall(shown_ < kept_count_ ? shown_ + 1 : shown_);
    case 'B': return recall(shown_ > 0 ? shown_ - 1 : 0);
    case 'C': return move_to(behind(cursor_));
    case 'D': return move_to(before(cursor_));
    case 'F': return move_to(length_);
    case 'H': return move_to(0);
    case '~': return special_key(escape_number_);
    default: return;
    }
}

void LineEditor::special_key(unsigned number) {
    switch (number) {
    case 1:
    case 7: return move_to(0);
    case 3: return erase_to(behind(cursor_));
    case 4:
    case 8: return move_to(length_);
    default: return;  // the brackets of a paste among them
    }
}

// The character before and behind a position: all bytes of one beyond ASCII, which has one place on the
// screen.
unsigned LineEditor::before(unsigned position) const {
    if (position != 0) --position;
    while (position != 0 && is_continuation(text_[position])) --position;
    return position;
}

unsigned LineEditor::behind(unsigned position) const {
    if (position < length_) ++position;
    while (position < length_ && is_continuation(text_[position])) ++position;
    return position;
}

unsigned LineEditor::word_before() const {
    unsigned at = cursor_;
    while (at != 0 && text_[at - 1] == ' ') --at;
    while (at != 0 && text_[at - 1] != ' ') --at;
    return at;
}

void LineEditor::move_to(unsigned position) {
    for (; cursor_ > position; cursor_ = before(cursor_)) output_('\b');
    for (; cursor_ < position; ++cursor_) output_(text_[cursor_]);
}

// The screen's cursor is at the end of what is shown: back to where ours is.
void LineEditor::show_rest() {
    for (unsigned at = length_; at > cursor_; at = before(at)) output_('\b');
}

void LineEditor::insert(char c) {
    // In the midst of a line a character of several bytes would be shown in halves.
    if (length_ == line_bytes || (cursor_ != length_ && !is_ascii(c))) {
        output_(bell);
        return;
    }
    for (unsigned i = length_; i > cursor_; --i) text_[i] = text_[i - 1];
    text_[cursor_] = c;
    ++length_;
    for (unsigned i = cursor_; i < length_; ++i) output_(text_[i]);
    ++cursor_;
    show_rest();
}

void LineEditor::erase_to(unsigned position) {
    const unsigned from = position < cursor_ ? position : cursor_;
    const unsigned to = position < cursor_ ? cursor_ : position;
    if (from == to) return;
    if (to == length_ && cursor_ == length_ && from == before(to)) {
        say("\b \b");
        length_ = cursor_ = from;
        return;
    }
    move_to(from);
    for (unsigned i = to; i < length_; ++i) text_[i - (to - from)] = text_[i];
    length_ -= to - from;
    say(clear_rest);
    for (unsigned i = cursor_; i < length_; ++i) output_(text_[i]);
    show_rest();
}

void LineEditor::set_line(std::string_view text) {
    move_to(0);
    say(clear_rest);
    length_ = cursor_ = 0;
    for (const char c : text) text_[length_++] = c;
    move_to(length_);
}

void LineEditor::complete() {
    unsigned begin = cursor_;
    while (begin != 0 && text_[begin - 1] != ' ') --begin;
    const std::string_view before{text_, begin}, word{text_ + begin, cursor_ - begin};
    std::string_view common;
    unsigned count = 0;
    for (unsigned n = 0;; ++n) {
        const std::string_view each = completions_->completion(before, n);
        if (each.empty()) break;
        if (!each.starts_with(word)) continue;
        if (count++ == 0) {
            common = each;
            continue;
        }
        std::size_t same = 0;
        while (same < common.size() && same < each.size() && common[same] == each[same]) ++same;
        common = {common.data(), same};
    }
    if (count == 0) return output_(bell);
    if (count > 1 && common.size() == word.size()) return list_completions(before, word);
    const std::size_t known = word.size();  // text_ changes under `word`
    for (std::size_t i = known; i < common.size(); ++i) insert(common[i]);
    if (count == 1 && cursor_ == length_) insert(' ');
}

void LineEditor::list_completions(std::string_view before, std::string_view word) {
    say("\r\n");
    for (unsigned n = 0;; ++n) {
        const std::string_view each = completions_->completion(before, n);
        if (each.empty()) break;
        if (!each.starts_with(word)) continue;
        for (const char c : each)
            output_(static_cast<unsigned char>(c) < 32 || c == delete_byte ? '?' : c);
        say("  ");
    }
    say("\r\n");
    say(prompt_);
    say(line());
    show_rest();
}

void LineEditor::recall(unsigned age) {
    if (age == shown_) return;
    shown_ = age;
    set_line(age == 0 ? std::string_view{}
                      : kept_[(kept_next_ + kept_lines - age) % kept_lines].view());
}

void LineEditor::remember() {
    if (length_ == 0) return;
    const unsigned last = (kept_next_ + kept_lines - 1) % kept_lines;
    if (kept_count_ != 0 && kept_[last].view() == line()) return;
    kept_[kept_next_].set(line());
    kept_next_ = (kept_next_ + 1) % kept_lines;
    if (kept_count_ < kept_lines) ++kept_count_;
}

}  // namespace margay::init

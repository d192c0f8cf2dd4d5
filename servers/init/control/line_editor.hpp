// One line as it is typed, with what a person expects: echo, backspace, Ctrl-U, Ctrl-C, and the last
// lines by the arrow keys.
#pragma once
#include <cstdint>

#include "servers/init/control/output.hpp"
#include "servers/init/control/text.hpp"

namespace margay::init {

class LineEditor {
  public:
    enum class Event : std::uint8_t { none, line, cancelled };

    static constexpr unsigned line_bytes = 128;
    static constexpr unsigned kept_lines = 8;

    explicit LineEditor(Output& output) : output_{output} {}

    // A byte was typed. After `line` that line is in line() until the next byte.
    Event type(char c);
    std::string_view line() const { return line_.view(); }

  private:
    using Line = Text<line_bytes>;
    enum class Escape : std::uint8_t { none, begun, sequence };

    Event type_plain(char c);
    void escape_byte(char c);
    void erase_character();
    void erase_line();
    void recall(unsigned age);
    void remember();
    void say(std::string_view text) {
        for (char c : text) output_(c);
    }

    Output& output_;
    Line line_;
    Line kept_[kept_lines];
    unsigned kept_next_ = 0, kept_count_ = 0;
    unsigned shown_ = 0;  // age of the kept line that is shown; 0: none
    Escape escape_ = Escape::none;
    bool was_return_ = false, is_done_ = false;
};

}  // namespace margay::init

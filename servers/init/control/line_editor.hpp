// One line as it is typed, with what a person expects of a terminal: editing keys, the last lines, completion.
#pragma once
#include <cstdint>

#include "servers/init/control/output.hpp"
#include "servers/init/short_text.hpp"

namespace margay::init {

// Which words may stand at the end of a line.
class Completions {
  public:
    // The n-th word that may stand behind `before`, which ends in a blank or is empty; empty: no more.
    virtual std::string_view completion(std::string_view before, unsigned n) = 0;

  protected:
    ~Completions() = default;
};

class LineEditor {
  public:
    enum class Event : std::uint8_t { none, line, cancelled };

    static constexpr unsigned line_bytes = 128;
    static constexpr unsigned kept_lines = 32;

    // The prompt is shown again where the line is. Without completions Tab is a blank.
    explicit LineEditor(Output& output, std::string_view prompt = {},
                        Completions* completions = nullptr)
        : output_{output}, prompt_{prompt}, completions_{completions} {}

    // A byte was typed. After `line` that line is in line() until the next byte.
    Event type(char c);
    std::string_view line() const { return {text_, length_}; }

  private:
    using Line = Text<line_bytes>;
    enum class Escape : std::uint8_t { none, begun, sequence };

    Event type_plain(char c);
    void escape_byte(char c);
    void special_key(unsigned number);
    void insert(char c);
    void set_line(std::string_view text);
    // Takes out what lies between the position and the cursor, on either side of it.
    void erase_to(unsigned position);
    void move_to(unsigned position);
    void show_rest();
    unsigned before(unsigned position) const;
    unsigned behind(unsigned position) const;
    unsigned word_before() const;
    void complete();
    void list_completions(std::string_view before, std::string_view word);
    void recall(unsigned age);
    void remember();
    void say(std::string_view text) {
        for (char c : text) output_(c);
    }

    Output& output_;
    std::string_view prompt_;
    Completions* completions_;
    char text_[line_bytes];
    unsigned length_ = 0, cursor_ = 0;
    Line kept_[kept_lines];
    unsigned kept_next_ = 0, kept_count_ = 0;
    unsigned shown_ = 0;  // age of the kept line that is shown; 0: none
    Escape escape_ = Escape::none;
    unsigned escape_number_ = 0;
    bool was_return_ = false, is_done_ = false;
};

}  // namespace margay::init

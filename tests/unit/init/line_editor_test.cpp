#include "servers/init/control/line_editor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace margay::init {
namespace {

class Editor : public testing::Test {
  protected:
    // The lines that were finished; "^C" for a cancelled one.
    std::vector<std::string> type(const std::string& keys) {
        std::vector<std::string> lines;
        for (char c : keys) {
            const LineEditor::Event e = editor_.type(c);
            if (e == LineEditor::Event::line) lines.emplace_back(editor_.line());
            if (e == LineEditor::Event::cancelled) lines.emplace_back("^C");
        }
        return lines;
    }
    std::string echoed() {
        const std::string s{output_->pending()};
        while (!output_->empty()) output_->pop();
        return s;
    }
    using Lines = std::vector<std::string>;

    std::unique_ptr<Output> output_ = std::make_unique<Output>();
    LineEditor editor_{*output_};
};

TEST_F(Editor, EchoAndEveryEndOfLine) {
    EXPECT_EQ(type("list\r"), Lines{"list"});
    EXPECT_EQ(echoed(), "list\r\n");
    EXPECT_EQ(type("\n"), Lines{}) << "the second half of one end";
    EXPECT_EQ(type("a\nb\n"), (Lines{"a", "b"}));
    EXPECT_EQ(type("c\r\nd\r\n\n"), (Lines{"c", "d", ""}));
    EXPECT_EQ(type("\r\r"), (Lines{"", ""}));
}

TEST_F(Editor, Erasing) {
    EXPECT_EQ(type("lisx\x7ft\r"), Lines{"list"});
    EXPECT_EQ(echoed(), "lisx\b \bt\r\n");
    EXPECT_EQ(type("\b\bab\b\b\bc\r"), Lines{"c"}) << "nothing before the line's beginning";
    EXPECT_EQ(type("rubbish\x15ok\r"), Lines{"ok"});
    EXPECT_EQ(type("a\xc3\xa4\bb\r"), Lines{"ab"}) << "a whole character";
}

TEST_F(Editor, Interrupt) {
    EXPECT_EQ(type("abc\x03"
                   "d\r"),
              (Lines{"^C", "d"}));
    EXPECT_EQ(echoed(), "abc^C\r\nd\r\n");
}

TEST_F(Editor, FullLineBeepsAndStays) {
    const std::string full(LineEditor::line_bytes, 'x');
    EXPECT_EQ(type(full + "yz\r"), Lines{full});
    EXPECT_EQ(echoed(), full + "\a\a\r\n");
}

TEST_F(Editor, ControlAndEscapeSequencesAreSwallowed) {
    EXPECT_EQ(type(std::string{"a\0b\x07\x1b[Z\x1b[1;5P\x1b[5~\x1b"
                               "xc\td\r",
                               23}),
              Lines{"abc d"});
}

TEST_F(Editor, HistoryByArrows) {
    type("one\rtwo\rtwo\r\rthree\r");
    echoed();
    EXPECT_EQ(type("\x1b[A\r"), Lines{"three"});
    EXPECT_EQ(echoed(), "\x1b[Kthree\r\n");
    EXPECT_EQ(type("\x1b[A\x1b[A\x1b[A\r"), Lines{"one"}) << "no line twice in a row";
    EXPECT_EQ(type("x\x1bOA\x1b[A\x1b[B!\r"), Lines{"one!"});
    EXPECT_EQ(type("\x1b[A\x1b[B\r"), Lines{""});
    for (int i = 0; i < 50; ++i) type("n" + std::to_string(i) + "\r");
    std::string up;
    for (int i = 0; i < 60; ++i) up += "\x1b[A";
    EXPECT_EQ(type(up + "\r"), Lines{"n18"}) << "the oldest that is kept";
}

// A terminal of one line: what is on it, and where the cursor is.
class Screen {
  public:
    explicit Screen(const std::string& bytes) {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            if (bytes.compare(i, 3, "\x1b[K") == 0) {
                row_.resize(column_);
                i += 2;
            } else if (bytes[i] == '\b') {
                --column_;
            } else if (bytes[i] != 7) {
                row_.resize(std::max(row_.size(), column_ + 1), ' ');
                row_[column_++] = bytes[i];
            }
        }
    }
    std::string text() const { return row_; }
    std::size_t column() const { return column_; }

  private:
    std::string row_;
    std::size_t column_ = 0;
};

TEST_F(Editor, KeysWithinTheLine) {
    EXPECT_EQ(type("lst\x1b[D\x1b[Di\r"), Lines{"list"});
    EXPECT_EQ(type("ist\x1b[Hl\x1b[F!\r"), Lines{"list!"});
    EXPECT_EQ(type("ist\x1b[1~l\x1b[4~!\r"), Lines{"list!"});
    EXPECT_EQ(type("ist\x01l\x05!\r"), Lines{"list!"});
    EXPECT_EQ(type("xlist\x01\x1b[3~\r"), Lines{"list"});
    EXPECT_EQ(type("lixst\x02\x02\x7f\r"), Lines{"list"});
    EXPECT_EQ(type("list linux\x17\x17\r"), Lines{""});
    EXPECT_EQ(type("start a b\x17\r"), Lines{"start a "});
    EXPECT_EQ(type("abcdef\x02\x02\x0b\r"), Lines{"abcd"});
    EXPECT_EQ(type("abcdef\x02\x02\x15\r"), Lines{"ef"});
    EXPECT_EQ(type("a\xc3\xa4\x1b[D\x1b[D\x1b[C\x1b[3~b\r"), Lines{"ab"}) << "whole characters";
    EXPECT_EQ(type("\x1b[200~list\x1b[201~\r"), Lines{"list"}) << "a paste in brackets";
    EXPECT_EQ(type("one\rtwo\r\x10\x10!\r"), (Lines{"one", "two", "one!"}));
}

TEST_F(Editor, TheScreenShowsTheLine) {
    std::mt19937 random{7};
    const std::string keys[] = {"a",    "b",    " ",      "\x02",   "\x06",
                                "\x01", "\x05", "\x7f",   "\x04",   "\x0b",
                                "\x15", "\x17", "\x1b[A", "\x1b[B", "\x1b[3~"};
    for (int n = 0; n < 2000; ++n) {
        type("one line\rthe other one\r");
        (void)echoed();
        std::string shown;
        for (unsigned i = 1 + random() % 40; i != 0; --i) {
            type(keys[random() % std::size(keys)]);
            shown += echoed();
        }
        const Screen screen{shown};
        std::string text = screen.text();
        text.erase(std::min(text.size(), text.find_last_not_of(' ') + 1));
        std::string line{editor_.line()};
        line.erase(std::min(line.size(), line.find_last_not_of(' ') + 1));
        ASSERT_EQ(text, line);
        type("\x03");
        (void)echoed();
    }
}

}  // namespace
}  // namespace margay::init

#include "servers/init/control/line_editor.hpp"

#include <gtest/gtest.h>

#include <memory>
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
    EXPECT_EQ(type(std::string{"a\0b\x01\x1b[C\x1b[1;5D\x1b[3~\x1b"
                               "xc\td\r",
                               23}),
              Lines{"abc d"});
}

TEST_F(Editor, HistoryByArrows) {
    type("one\rtwo\rtwo\r\rthree\r");
    echoed();
    EXPECT_EQ(type("\x1b[A\r"), Lines{"three"});
    EXPECT_EQ(echoed(), "three\r\n");
    EXPECT_EQ(type("\x1b[A\x1b[A\x1b[A\r"), Lines{"one"}) << "no line twice in a row";
    EXPECT_EQ(type("x\x1bOA\x1b[A\x1b[B!\r"), Lines{"one!"});
    EXPECT_EQ(type("\x1b[A\x1b[B\r"), Lines{""});
    for (int i = 0; i < 20; ++i) type("n" + std::to_string(i) + "\r");
    std::string up;
    for (int i = 0; i < 30; ++i) up += "\x1b[A";
    EXPECT_EQ(type(up + "\r"), Lines{"n12"}) << "the oldest that is kept";
}

}  // namespace
}  // namespace margay::init

// Text in shared memory that somebody else writes, and may change while it is read: it need not end, and
// may hold what moves a terminal's cursor. There is no way to it but a copy that is bounded and harmless.
#pragma once
#include <cstddef>
#include <string_view>

namespace margay {

// A byte of somebody else's text as it can be shown: what is not printable ASCII is a question mark.
constexpr char harmless(char c) { return c >= ' ' && c <= '~' ? c : '?'; }

// A copy: one's own, zero-terminated, printable.
template <std::size_t n>
class HarmlessText {
  public:
    std::string_view view() const { return {text_, length_}; }
    const char* c_str() const { return text_; }

  private:
    template <std::size_t>
    friend class ForeignText;
    HarmlessText() = default;

    char text_[n] = {};
    std::size_t length_ = 0;
};

// In the shared memory: n bytes, zero-terminated if there are fewer. No conversion to text, on purpose.
template <std::size_t n>
class ForeignText {
  public:
    // For the reader. Each byte is read once.
    HarmlessText<n> copy() const {
        HarmlessText<n> to;
        const volatile char* from = bytes_;
        for (; to.length_ + 1 < n; ++to.length_) {
            const char c = from[to.length_];
            if (c == 0) break;
            to.text_[to.length_] = harmless(c);
        }
        return to;
    }
    // For the writer: cut to n - 1 bytes.
    void write(std::string_view text) {
        std::size_t length = 0;
        for (; length < text.size() && length + 1 < n; ++length) bytes_[length] = text[length];
        bytes_[length] = 0;
    }

  private:
    char bytes_[n];
};

}  // namespace margay

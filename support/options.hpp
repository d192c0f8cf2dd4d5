// Options in a line of text: words `name` or `name=number`, separated by blanks.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace margay {

// The text behind `name=`, empty for the word `name` alone; nothing if there is no such word. The first
// of several counts.
constexpr std::optional<std::string_view> find_option(std::string_view line,
                                                      std::string_view name) {
    // By hand: find() and substr() call functions that target code does not have.
    for (std::size_t at = 0; at < line.size();) {
        std::size_t end = at;
        while (end < line.size() && line[end] != ' ') ++end;
        const std::string_view word{line.data() + at, end - at};
        if (word == name) return std::string_view{};
        if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=')
            return std::string_view{word.data() + name.size() + 1, word.size() - name.size() - 1};
        at = end + 1;
    }
    return std::nullopt;
}

// Decimal, or hexadecimal behind 0x. Nothing if it is no number of 64 bits.
constexpr std::optional<std::uint64_t> find_number(std::string_view line, std::string_view name) {
    std::optional<std::string_view> text = find_option(line, name);
    if (!text) return std::nullopt;
    unsigned base = 10;
    if (text->starts_with("0x")) {
        base = 16;
        text->remove_prefix(2);
    }
    if (text->empty()) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : *text) {
        const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                               : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                      : 16;
        if (digit >= base || value > (~0ull - digit) / base) return std::nullopt;
        value = value * base + digit;
    }
    return value;
}

}  // namespace margay

// Formatted text without a heap: print(sink, "base {x} size {}", base, size).
// A sink is anything callable with one char. {} prints decimal, text or a char; {x} hexadecimal;
// {X} hexadecimal with 16 digits; {{ is a brace.
#pragma once
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "support/address.hpp"

namespace margay {

class FormatArgument {
  public:
    constexpr FormatArgument(std::string_view s) : text_{s}, kind_{Kind::text} {}
    constexpr FormatArgument(const char* s) : text_{s}, kind_{Kind::text} {}
    constexpr FormatArgument(char c)
        : number_{static_cast<unsigned char>(c)}, kind_{Kind::character} {}
    constexpr FormatArgument(bool b) : text_{b ? "true" : "false"}, kind_{Kind::text} {}
    template <std::integral T>
    constexpr FormatArgument(T v)
        : number_{static_cast<std::uint64_t>(v)},
          kind_{std::is_signed_v<T> && v < T{} ? Kind::negative : Kind::number} {}
    template <typename T>
        requires std::is_enum_v<T>
    constexpr FormatArgument(T v) : number_{static_cast<std::uint64_t>(v)}, kind_{Kind::number} {}
    template <typename Tag>
    constexpr FormatArgument(Address<Tag> a) : number_{a.value()}, kind_{Kind::number} {}

    template <typename Sink>
    void print(Sink& sink, char style) const {
        switch (kind_) {
        case Kind::text:
            for (char c : text_) sink(c);
            return;
        case Kind::character: sink(static_cast<char>(number_)); return;
        case Kind::negative:
        case Kind::number: break;
        }
        std::uint64_t value = number_;
        if (kind_ == Kind::negative && style == 'd') {
            sink('-');
            value = ~value + 1;
        }
        const unsigned base = style == 'd' ? 10 : 16;
        char digits[20];
        unsigned count = 0;
        do {
            const unsigned digit = static_cast<unsigned>(value % base);
            digits[count++] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
            value /= base;
        } while (value != 0);
        if (style == 'X')
            for (unsigned i = count; i < 16; ++i) sink('0');
        while (count != 0) sink(digits[--count]);
    }

  private:
    enum class Kind : std::uint8_t { text, character, number, negative };
    std::string_view text_{};
    std::uint64_t number_ = 0;
    Kind kind_;
};

template <typename Sink>
void print_arguments(Sink& sink, std::string_view format, const FormatArgument* arguments,
                     unsigned count) {
    unsigned next = 0;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '{') {
            sink(format[i]);
            continue;
        }
        if (i + 1 < format.size() && format[i + 1] == '{') {
            sink('{');
            ++i;
            continue;
        }
        char style = 'd';
        ++i;
        if (i < format.size() && format[i] != '}') style = format[i++];
        if (next < count) arguments[next++].print(sink, style);
    }
}

template <typename Sink, typename... Arguments>
void print(Sink&& sink, std::string_view format, const Arguments&... arguments) {
    const FormatArgument list[sizeof...(Arguments) + 1] = {FormatArgument{arguments}...,
                                                           FormatArgument{0}};
    print_arguments(sink, format, list, sizeof...(Arguments));
}

}  // namespace margay

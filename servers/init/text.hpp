// Text in arrays of fixed size: cut where they end, always zero-terminated.
#pragma once
#include <cstdint>
#include <string_view>

#include "support/format.hpp"

namespace margay::init {

template <std::size_t n, typename... Arguments>
void write(char (&to)[n], std::string_view format, const Arguments&... arguments) {
    std::size_t at = 0;
    print(
        [&](char c) {
            if (at + 1 < n) to[at++] = c;
        },
        format, arguments...);
    to[at] = 0;
}

// `from` may be the array itself.
template <std::size_t n>
void copy_text(char (&to)[n], const char* from) {
    std::size_t at = 0;
    for (; at + 1 < n && from[at] != 0; ++at) to[at] = from[at];
    to[at] = 0;
}

inline bool same(const char* a, const char* b) { return std::string_view{a} == b; }

}  // namespace margay::init

#pragma once

#include <cstddef>
#include <cstdint>

namespace margay::vmm {

/// Copy `bytes`, a multiple of 8. Short ones by plain moves; from some size on one string instruction is
/// less to execute.
template <std::size_t bytes>
[[gnu::always_inline]] inline void copy_words(void* to, const void* from) noexcept {
    static_assert(bytes % 8 == 0);
    using Word [[gnu::may_alias]] = std::uint64_t;
    if constexpr (bytes <= 64) {
        auto* target = static_cast<Word*>(to);
        const auto* source = static_cast<const Word*>(from);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < bytes / 8; ++i) {
            target[i] = source[i];
        }
    } else {
        std::size_t words = bytes / 8;
        asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    }
}

}  // namespace margay::vmm

#pragma once

#include <cstddef>

namespace margay::vmm {

/// Whether `bytes`, a multiple of 8, are the same: one step of the processor per word, and no branch.
[[nodiscard]] inline bool are_equal_words(const void* a, const void* b,
                                          std::size_t bytes) noexcept {
    std::size_t words = bytes / 8;
    bool equal = false;
    asm volatile("cmp %%rax, %%rax\n\trepe cmpsq"
                 : "+S"(a), "+D"(b), "+c"(words), "=@cce"(equal)
                 :
                 : "memory");
    return equal;
}

}  // namespace margay::vmm

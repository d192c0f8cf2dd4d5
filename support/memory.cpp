// The four functions that the compiler may call by itself in freestanding code, and strlen.
#include <cstddef>
#include <cstdint>

namespace {

// From here on whole words pay, also where a processor moves bytes one by one.
constexpr std::size_t word_bytes = 8, enough_for_words = 2 * word_bytes;

}  // namespace

extern "C" {

void* memcpy(void* to, const void* from, std::size_t n) {
    void* result = to;
    if (n >= enough_for_words) {
        std::size_t words = n / word_bytes;
        asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
        n %= word_bytes;
    }
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return result;
}

void* memmove(void* to, const void* from, std::size_t n) {
    auto* t = static_cast<unsigned char*>(to);
    const auto* f = static_cast<const unsigned char*>(from);
    if (t <= f || t >= f + n) return memcpy(to, from, n);
    void* last_to = t + n - 1;
    const void* last_from = f + n - 1;
    asm volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(n) : : "memory");
    return to;
}

void* memset(void* to, int value, std::size_t n) {
    void* result = to;
    const std::uint64_t pattern = (value & 0xff) * 0x0101'0101'0101'0101ull;
    if (n >= enough_for_words) {
        std::size_t words = n / word_bytes;
        asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
        n %= word_bytes;
    }
    asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(pattern) : "memory");
    return result;
}

int memcmp(const void* a, const void* b, std::size_t n) {
    const auto* x = static_cast<const unsigned char*>(a);
    const auto* y = static_cast<const unsigned char*>(b);
    // Words as long as they are equal; the bytes of the first that are not decide.
    for (; n >= word_bytes; n -= word_bytes, x += word_bytes, y += word_bytes) {
        std::uint64_t one, other;
        __builtin_memcpy(&one, x, word_bytes);
        __builtin_memcpy(&other, y, word_bytes);
        if (one != other) break;
    }
    for (; n != 0; --n, ++x, ++y)
        if (*x != *y) return *x < *y ? -1 : 1;
    return 0;
}

std::size_t strlen(const char* s) {
    std::size_t n = 0;
    while (s[n] != 0) ++n;
    return n;
}
}

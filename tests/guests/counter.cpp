// Counts aloud, for ever, and looks before each number whether its memory is what it was: pages of zeros, of one word,
// of equal contents, of what repeats within a page, and of what does not.
#include "tests/guests/guest.hpp"

namespace {

constexpr unsigned pages = 96, words = 512;
alignas(4096) std::uint64_t memory[pages][words];

std::uint64_t word_of(unsigned page, unsigned i) {
    switch (page % 6) {
    case 0: return 0;
    case 1: return 0x0123'4567'89ab'cdef;
    case 2: return i * 0x9e37'79b9'7f4a'7c15;  // all of these are equal
    case 3: return i % 16 < 12 ? i / 64 : page;
    case 4: return (page * 512 + i) * 0xda94'2042'e4dd'58b5 + 1;
    default: return i == page ? 1 : 0;
    }
}

}  // namespace

void guest_main(void*) {
    using namespace margay::guest;
    for (unsigned p = 0; p < pages; ++p)
        for (unsigned i = 0; i < words; ++i) memory[p][i] = word_of(p, i);
    for (unsigned n = 1;; ++n) {
        bool good = true;
        for (unsigned p = 0; p < pages; ++p)
            for (unsigned i = 0; i < words; ++i) good &= memory[p][i] == word_of(p, i);
        say(good ? "count {}\n" : "count {}: memory was changed\n", n);
        const std::uint64_t begin = rdtsc();
        while (rdtsc() - begin < 100'000'000) asm volatile("pause");
    }
}

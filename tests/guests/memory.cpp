// Uses all of its RAM, a word or two in each large page: whether what was written is there, and nothing of what another
// guest with this program had written before.
#include "tests/guests/guest.hpp"

using namespace margay::guest;

namespace {

constexpr std::uint64_t large_page = 2 << 20, gib = 1 << 30, gibs = 8;
constexpr std::uint64_t mark = 0x5ca1'ab1eull << 32;
alignas(4096) std::uint64_t top[512], upper[512], middle[gibs][512];

void map_all() {
    for (std::uint64_t i = 0; i < gibs * 512; ++i) middle[i / 512][i % 512] = i * large_page | 0x83;
    for (std::uint64_t i = 0; i < gibs; ++i)
        upper[i] = reinterpret_cast<std::uint64_t>(middle[i]) | 3;
    top[0] = reinterpret_cast<std::uint64_t>(upper) | 3;
    asm volatile("mov %0, %%cr3" : : "r"(top) : "memory");
}

struct [[gnu::packed]] Range {
    std::uint64_t base, size;
    std::uint32_t type;
};

volatile std::uint64_t& word(std::uint64_t at) {
    return *reinterpret_cast<volatile std::uint64_t*>(at);
}

// Calls f for a word in each half of each large page of RAM that lies behind the program and its tables.
template <typename F>
void for_each_word(const char* boot_parameters, F f) {
    constexpr unsigned count_at = 0x1e8, ranges_at = 0x2d0, ram = 1;  // of the boot protocol
    constexpr std::uint64_t first = 16 << 20;
    for (int i = 0; i < boot_parameters[count_at]; ++i) {
        Range r;
        __builtin_memcpy(&r, boot_parameters + ranges_at + i * static_cast<int>(sizeof(r)),
                         sizeof(r));
        if (r.type != ram) continue;
        const std::uint64_t end = r.base + r.size;
        for (std::uint64_t at = r.base < first ? first : r.base; at + 8 <= end && at < gibs * gib;
             at += large_page / 2)
            f(at);
    }
}

}  // namespace

void guest_main(void* boot_parameters) {
    // They lie where this program's own tables do not.
    const auto* parameters = static_cast<const char*>(boot_parameters);
    map_all();
    std::uint64_t words = 0, left_over = 0, wrong = 0;
    for_each_word(parameters, [&](std::uint64_t at) { left_over += word(at) >> 32 == mark >> 32; });
    for_each_word(parameters, [&](std::uint64_t at) { word(at) = mark | at >> 12; });
    for_each_word(parameters, [&](std::uint64_t at) {
        ++words;
        wrong += word(at) != (mark | at >> 12);
    });
    say("memory: {} MiB, {} wrong, {} left over\n", words, wrong, left_over);
    power_off();
}

// Fails on purpose: a fault without an interrupt descriptor table.
#include "tests/guests/guest.hpp"

void guest_main(void*) {
    const struct [[gnu::packed]] {
        std::uint16_t limit;
        std::uint64_t base;
    } none{0, 0};
    asm volatile("lidt %0; ud2" : : "m"(none));
    __builtin_unreachable();
}

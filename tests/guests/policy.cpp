// Says what a leaf of CPUID shows whenever that changes, and ends when EAX is what a test's policy says at the end.
#include "tests/guests/guest.hpp"

void guest_main(void*) {
    using namespace margay::guest;
    constexpr std::uint32_t leaf = 0x4000'0100, end = 0xe0d;
    CpuidResult before{};
    for (bool is_first = true;; is_first = false) {
        const CpuidResult now = cpuid(leaf);
        if (is_first || now.eax != before.eax || now.ebx != before.ebx || now.ecx != before.ecx ||
            now.edx != before.edx)
            say("leaf {x} {x} {x} {x}\n", now.eax, now.ebx, now.ecx, now.edx);
        before = now;
        if (now.eax == end) power_off();
    }
}

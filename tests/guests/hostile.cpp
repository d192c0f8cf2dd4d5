// Tries what a guest must not be able to do: reach beyond its memory, its ports and its registers,
// confuse the emulator, and flood the node with exits. The node must survive; then it powers off.
#include "tests/guests/guest.hpp"

using namespace margay::guest;

namespace {

std::uint64_t random_state = 88172645463325252ull;
std::uint64_t random() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

}  // namespace

void guest_main(void*) {
    // Every port but those that end the machine: PM1 control, reset, keyboard controller, fast A20,
    // and the UART that shows what happens.
    for (unsigned i = 0; i < 20000; ++i) {
        const auto port = static_cast<std::uint16_t>(random());
        // Wide accesses reach three ports further.
        const bool spared = (port >= 0x5fd && port < 0x610) || (port >= 0xcf5 && port < 0xd00) ||
                            (port >= 0x61 && port <= 0x64) || (port >= 0x8f && port <= 0x92) ||
                            (port >= 0x3f5 && port < 0x400);
        if (spared) continue;
        switch (random() % 6) {
        case 0: out8(port, static_cast<std::uint8_t>(random())); break;
        case 1: out16(port, static_cast<std::uint16_t>(random())); break;
        case 2: out32(port, static_cast<std::uint32_t>(random())); break;
        case 3: (void)in8(port); break;
        default: (void)in32(port); break;
        }
    }
    // All of the first 4 GiB that the page tables reach and RAM does not.
    for (unsigned i = 0; i < 20000; ++i) {
        const std::uint64_t address = (0x10000000 + random() % 0xe0000000ull) & ~7ull;
        if (random() & 1)
            *reinterpret_cast<volatile std::uint32_t*>(address) =
                static_cast<std::uint32_t>(random());
        else
            (void)*reinterpret_cast<volatile std::uint64_t*>(address);
    }
    for (unsigned i = 0; i < 5000; ++i)
        (void)cpuid(static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random()));
    say("still here\n");
    power_off();
}

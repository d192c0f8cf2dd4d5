// Exits for ever: whoever looks at the node finds it in the kernel or in the VMM nearly always.
#include "tests/guests/guest.hpp"

void guest_main(void*) {
    for (;;) margay::guest::out8(0x3ff, 0);
}

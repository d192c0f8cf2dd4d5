// Runs for ever without an exit.
#include "tests/guests/guest.hpp"

void guest_main(void*) {
    for (;;) asm volatile("");
}

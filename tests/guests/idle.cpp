// Sleeps for ever with interrupts on, though none comes: a VM that costs nothing.
#include "tests/guests/guest.hpp"

void guest_main(void*) {
    for (;;) asm volatile("sti; hlt");
}

// Ends in the way that its command line names: cf9, keyboard, port92 and acpi reset the machine, triple crashes, halt
// sleeps for good, off powers off.
#include "support/options.hpp"
#include "tests/guests/guest.hpp"

using namespace margay::guest;

namespace {

void triple_fault() {
    struct [[gnu::packed]] {
        std::uint16_t limit = 0;
        std::uint64_t base = 0;
    } nothing;
    asm volatile("lidt %0\n\tud2" : : "m"(nothing));
}

}  // namespace

void guest_main(void* boot_parameters) {
    const std::string_view line = command_line_of(boot_parameters);
    say("begin {}\n", line);
    if (margay::find_option(line, "cf9")) {
        out8(0xcf9, 0x02);
        out8(0xcf9, 0x06);
    }
    // The FADT's reset register is port 0xcf9 with one value.
    if (margay::find_option(line, "acpi")) out8(0xcf9, 0x06);
    if (margay::find_option(line, "keyboard")) out8(0x64, 0xfe);
    if (margay::find_option(line, "port92")) out8(0x92, 0x01);
    if (margay::find_option(line, "triple")) triple_fault();
    if (margay::find_option(line, "halt")) asm volatile("cli; hlt");
    power_off();
}

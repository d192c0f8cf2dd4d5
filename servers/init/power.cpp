#include "servers/init/power.hpp"

#include "libipc/log.hpp"
#include "libipc/system_call.hpp"

namespace margay::init {

namespace {

// The last characters still stand in the transmitters of COM1 and COM2, and go with the machine. Where there is no
// line, all bits are set.
void let_console_finish() {
    constexpr std::uint64_t transmitter_empty = 0x40;
    for (const std::uint16_t line_status : {0x3fd, 0x2fd})
        for (unsigned i = 0; i < 100'000; ++i)
            if ((port_read(init_slot::ports, line_status, 1) & transmitter_empty) != 0) break;
}

// A power-off takes effect behind the access that asks for it, on an emulator as on a machine.
void wait_for_it(Node& node, Slot event, std::uint64_t us) {
    const std::uint64_t end = rdtsc() + node.ticks(us);
    while (rdtsc() < end) (void)wait(event, end);
}

}  // namespace

void power_off(Node& node, const SoftOff& off, std::uint16_t exit_port, bool good) {
    constexpr std::uint64_t exit_port_us = 2'000'000, soft_off_us = 10'000'000;
    let_console_finish();
    if (exit_port != 0) (void)port_write(init_slot::ports, exit_port, 1, good ? 0x10 : 0x11);
    const Result<Slot> never = node.create_event();
    const Slot event = never ? *never : no_slot;
    if (exit_port != 0) wait_for_it(node, event, exit_port_us);
    if (off.control != 0) {
        constexpr std::uint32_t sleep_enable = 1 << 13;
        (void)port_write(init_slot::ports, off.control, 2,
                         static_cast<std::uint32_t>(off.type) << 10 | sleep_enable);
        wait_for_it(node, event, soft_off_us);
    }
    log("margay: this machine cannot be turned off by software; it is safe to switch it off\n");
    for (;;)
        if (!wait(event)) asm volatile("pause");
}

}  // namespace margay::init

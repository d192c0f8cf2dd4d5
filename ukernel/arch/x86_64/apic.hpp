// The local APIC: one-shot timer and inter-processor interrupts (AMD APM vol. 2 chapter 16). In x2APIC mode
// where there is one: ids above 254 exist only there, and no register is in memory.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay::apic {

namespace vector {
constexpr unsigned first_gsi = 48;
constexpr unsigned first_message = 176;
constexpr unsigned timer = 0xf0;
constexpr unsigned kick = 0xf1;
constexpr unsigned iommu = 0xf2;
constexpr unsigned spurious = 0xff;
}  // namespace vector

// Once: chooses x2APIC mode where the processor has it, or maps the registers.
void map();
bool is_x2apic();
// On each core, before any other use.
void enable();
unsigned id();
void end_of_interrupt();
// Whether this core's local APIC has delivered the vector and waits for its end.
bool in_service(unsigned vector);
// Whether it has been sent there and was not delivered yet.
bool is_requested(unsigned vector);
// Interrupts at the TSC value, or as soon as possible after; no_deadline disarms.
void arm_timer(std::uint64_t tsc);
// Ticks of the timer per 2^32 TSC ticks, measured at start.
void calibrate(std::uint64_t tsc_khz);
// QEMU's software emulation (7.2) changes its word of pending interrupt requests at a VM exit without a
// lock, and so loses a request that another of its threads makes in that moment: the interrupt stays
// in the local APIC's request register for ever. A kernel without a periodic tick then sleeps for ever.
// Writing the task priority (to the value it has) makes the APIC look again. Under that emulator this is
// the address of that register; elsewhere that of `elsewhere`, which takes the write without effect.
std::uint64_t poke_address(std::uint32_t* elsewhere);
void send_init(unsigned apic_id);
void send_startup(unsigned apic_id, unsigned page);
void send_kick(unsigned apic_id);

}  // namespace margay::apic

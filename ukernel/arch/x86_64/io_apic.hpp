// I/O APICs: global system interrupts to vectors. Where an IOMMU looks their messages up, a pin's entry says
// where in its tables, and the IOMMU has core and vector.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

constexpr unsigned max_gsi = 128;  // global system interrupts that the kernel can serve

}  // namespace margay

namespace margay::io_apic {

// One that ACPI names: all its lines are masked. At most max_controllers; more are left alone.
constexpr unsigned max_controllers = 16;
void add(HostPhys base, unsigned first_gsi, unsigned id);
// Polarity and trigger of a line that differs from ISA's (active high, edge).
void set_trigger(unsigned gsi, bool active_low, bool level);
bool exists(unsigned gsi);
bool is_level(unsigned gsi);
void unmask(unsigned gsi, unsigned vector, unsigned apic_id);
void mask(unsigned gsi);

}  // namespace margay::io_apic

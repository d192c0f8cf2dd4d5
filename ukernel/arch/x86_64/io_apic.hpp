// I/O APICs: global system interrupts to vectors.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay::io_apic {

// From ACPI.
void add(HostPhys base, unsigned first_gsi);
// Polarity and trigger of a line that differs from ISA's (active high, edge). `isa`: its ISA number.
void add_override(unsigned isa, unsigned gsi, bool active_low, bool level);
// ISA interrupt number to global system interrupt.
unsigned gsi_of_isa(unsigned isa);
bool exists(unsigned gsi);
bool is_level(unsigned gsi);
void unmask(unsigned gsi, unsigned vector, unsigned apic_id);
void mask(unsigned gsi);

}  // namespace margay::io_apic

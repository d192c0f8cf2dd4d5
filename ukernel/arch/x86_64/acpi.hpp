// The ACPI tables that the kernel itself needs: MADT (cores, I/O APICs) and FADT (PM timer).
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"
#include "support/address.hpp"

namespace margay::acpi {

struct Platform {
    unsigned apic_ids[max_cores];
    unsigned cores = 0;
    HostPhys local_apic{0xfee00000};
    std::uint16_t pm_timer_port = 0;  // 0: none
};

// rsdp: in RAM. False if the tables are not usable; the node then runs on one core.
bool parse(HostPhys rsdp, Platform& platform);

}  // namespace margay::acpi

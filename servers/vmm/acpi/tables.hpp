#pragma once

#include "servers/vmm/acpi/dsdt_options.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

inline constexpr std::uint64_t acpi_base = 0xe'0000;  ///< the RSDP is here
inline constexpr std::uint64_t acpi_limit = 0x10'0000;

struct AcpiConfig {
    std::span<const std::byte> dsdt;  ///< AML as iasl makes it from dsdt.asl, header included
    std::uint32_t apic_id;            ///< of vCPU 0; those of the others follow it, up to 254
    unsigned cpus = 1;                ///< 1..max_cpus
    DsdtOptions options = {};
};

/// Write RSDP, XSDT, FADT, FACS, MADT and DSDT to guest-physical 0xe0000..0xfffff (ACPI 6.4 ch. 5).
/// `ram` is guest RAM from guest-physical 0, at least 1 MiB. Returns the RSDP's guest-physical address, or 0 if
/// RAM is too small, the DSDT is malformed or lacks an option, or the tables do not fit.
[[nodiscard]] std::uint64_t write_acpi_tables(std::span<std::byte> ram,
                                              const AcpiConfig& config) noexcept;

}  // namespace margay::vmm

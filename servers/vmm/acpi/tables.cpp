#include "servers/vmm/acpi/tables.hpp"

#include "servers/vmm/acpi/table_writer.hpp"
#include "servers/vmm/devices/acpi_pm.hpp"
#include "servers/vmm/devices/io_apic.hpp"
#include "servers/vmm/devices/local_apic.hpp"
#include "servers/vmm/state/exit_numbers.hpp"

#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::size_t header_size = 36;
constexpr std::size_t header_checksum = 9;
constexpr std::size_t rsdp_size = 36;
constexpr std::size_t facs_size = 64;
constexpr std::size_t fadt_size = 276;
constexpr std::size_t local_apic_entry = 8;
constexpr std::size_t io_apic_entry = 12;
constexpr std::size_t override_entry = 10;
constexpr std::size_t nmi_entry = 6;
constexpr std::size_t madt_size(unsigned cpus) {
    return header_size + 8 + cpus * local_apic_entry + io_apic_entry + 2 * override_entry +
           nmi_entry;
}
constexpr std::size_t xsdt_size = header_size + 2 * 8;

// Where each table is: fixed, and the DSDT last because its size varies.
constexpr std::uint64_t rsdp_at = acpi_base;
constexpr std::uint64_t facs_at = acpi_base + 0x040;
constexpr std::uint64_t xsdt_at = acpi_base + 0x080;
constexpr std::uint64_t fadt_at = acpi_base + 0x100;
constexpr std::uint64_t madt_at = acpi_base + 0x280;
constexpr std::uint64_t dsdt_at = acpi_base + 0x500;
static_assert(xsdt_at + xsdt_size <= fadt_at && fadt_at + fadt_size <= madt_at &&
              madt_at + madt_size(max_cpus) <= dsdt_at);

// FADT fixed feature flags (ACPI 6.4 table 5.10)
constexpr std::uint32_t fadt_wbinvd = 1U << 0;
constexpr std::uint32_t fadt_c1_on_all = 1U << 2;
constexpr std::uint32_t fadt_no_sleep_button = 1U << 5;
constexpr std::uint32_t fadt_no_fixed_rtc_wake = 1U << 6;
constexpr std::uint32_t fadt_timer_32_bits = 1U << 8;
constexpr std::uint32_t fadt_reset_register = 1U << 10;
constexpr std::uint32_t fadt_headless = 1U << 12;
// IA-PC boot architecture flags (table 5.11): the 8042 flag is clear, so that nobody looks for one
constexpr std::uint16_t boot_legacy_devices = 1U << 0;
constexpr std::uint16_t boot_no_vga = 1U << 2;

constexpr std::uint32_t madt_dual_8259 = 1;
constexpr std::uint16_t sci_polarity_trigger = 0x000d;  // active high, level

void write_fadt(TableWriter table) {
    table.header("FACP", 6);
    table.put<std::uint32_t>(36, static_cast<std::uint32_t>(facs_at));
    table.put<std::uint32_t>(40, static_cast<std::uint32_t>(dsdt_at));
    table.put<std::uint8_t>(45, 4);  // enterprise server
    table.put<std::uint16_t>(46, pm_sci);
    // SMI_CMD and ACPI_ENABLE stay 0: the machine is in ACPI mode from the start.
    table.put<std::uint32_t>(56, pm_base);
    table.put<std::uint32_t>(64, pm_control);
    table.put<std::uint32_t>(76, pm_timer);
    table.put<std::uint8_t>(88, 4);
    table.put<std::uint8_t>(89, 2);
    table.put<std::uint8_t>(91, 4);
    table.put<std::uint16_t>(96, 0xfff);  // no C2
    table.put<std::uint16_t>(98, 0xfff);  // no C3
    table.put<std::uint8_t>(108, 0x32);   // century in CMOS
    table.put<std::uint16_t>(109, boot_legacy_devices | boot_no_vga);
    table.put<std::uint32_t>(112, fadt_wbinvd | fadt_c1_on_all | fadt_no_sleep_button |
                                      fadt_no_fixed_rtc_wake | fadt_timer_32_bits |
                                      fadt_reset_register | fadt_headless);
    table.port(116, reset_port, 8, 1);
    table.put<std::uint8_t>(128, reset_value);
    table.put<std::uint8_t>(131, 4);  // ACPI 6.4
    table.put<std::uint64_t>(140, dsdt_at);
    table.port(148, pm_base, 32, 2);
    table.port(172, pm_control, 16, 2);
    table.port(208, pm_timer, 32, 3);
    table.checksum(header_checksum, fadt_size);
}

void write_madt(TableWriter table, std::uint32_t apic_id, unsigned cpus) {
    table.header("APIC", 5);
    table.put<std::uint32_t>(36, static_cast<std::uint32_t>(local_apic_address));
    table.put<std::uint32_t>(40, madt_dual_8259);
    auto at = header_size + 8;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        table.put<std::uint8_t>(at, 0);  // processor local APIC
        table.put<std::uint8_t>(at + 1, local_apic_entry);
        table.put<std::uint8_t>(at + 2, static_cast<std::uint8_t>(cpu));
        table.put<std::uint8_t>(at + 3, static_cast<std::uint8_t>(apic_id + cpu));
        table.put<std::uint32_t>(at + 4, 1);  // enabled
        at += local_apic_entry;
    }
    table.put<std::uint8_t>(at, 1);  // I/O APIC, its inputs from 0 on
    table.put<std::uint8_t>(at + 1, io_apic_entry);
    table.put<std::uint32_t>(at + 4, static_cast<std::uint32_t>(io_apic_address));
    at += io_apic_entry;
    table.put<std::uint8_t>(at, 2);  // interrupt source override: the timer
    table.put<std::uint8_t>(at + 1, override_entry);
    table.put<std::uint8_t>(at + 3, 0);
    table.put<std::uint32_t>(at + 4, 2);
    at += override_entry;
    table.put<std::uint8_t>(at, 2);  // and the SCI
    table.put<std::uint8_t>(at + 1, override_entry);
    table.put<std::uint8_t>(at + 3, pm_sci);
    table.put<std::uint32_t>(at + 4, pm_sci);
    table.put<std::uint16_t>(at + 8, sci_polarity_trigger);
    at += override_entry;
    table.put<std::uint8_t>(at, 4);  // local APIC NMI: LINT1 of all
    table.put<std::uint8_t>(at + 1, nmi_entry);
    table.put<std::uint8_t>(at + 2, 0xff);
    table.put<std::uint8_t>(at + 5, 1);
    table.checksum(header_checksum, madt_size(cpus));
}

void write_xsdt(TableWriter table) {
    table.header("XSDT", 1);
    table.put<std::uint64_t>(header_size, fadt_at);
    table.put<std::uint64_t>(header_size + 8, madt_at);
    table.checksum(header_checksum, xsdt_size);
}

void write_facs(TableWriter table) {
    table.text(0, "FACS");
    table.put<std::uint32_t>(4, facs_size);
    table.put<std::uint8_t>(32, 2);
}

void write_rsdp(TableWriter table) {
    table.text(0, "RSD PTR ");
    table.text(9, "MARGAY");
    table.put<std::uint8_t>(15, 2);
    table.put<std::uint32_t>(20, rsdp_size);
    table.put<std::uint64_t>(24, xsdt_at);
    table.checksum(8, 20);
    table.checksum(32, rsdp_size);
}

/// The DSDT as compiled has a right header; its length is checked because it is copied.
bool valid_dsdt(std::span<const std::byte> dsdt) {
    if (dsdt.size() < header_size || dsdt.size() > acpi_limit - dsdt_at ||
        std::memcmp(dsdt.data(), "DSDT", 4) != 0) {
        return false;
    }
    std::uint32_t length = 0;
    std::memcpy(&length, dsdt.data() + 4, sizeof(length));
    return length == dsdt.size();
}

}  // namespace

std::uint64_t write_acpi_tables(std::span<std::byte> ram, const AcpiConfig& config) noexcept {
    if (ram.size() < acpi_limit || config.cpus == 0 || config.cpus > max_cpus ||
        config.apic_id + config.cpus > 255 || !valid_dsdt(config.dsdt)) {
        return 0;
    }
    const auto table = [ram](std::uint64_t at, std::size_t size) {
        return TableWriter{ram.subspan(at, size)};
    };
    std::memcpy(ram.data() + dsdt_at, config.dsdt.data(), config.dsdt.size());
    if (!apply(ram.subspan(dsdt_at, config.dsdt.size()), config.options)) {
        return 0;
    }
    write_facs(table(facs_at, facs_size));
    write_fadt(table(fadt_at, fadt_size));
    write_madt(table(madt_at, madt_size(config.cpus)), config.apic_id, config.cpus);
    write_xsdt(table(xsdt_at, xsdt_size));
    write_rsdp(table(rsdp_at, rsdp_size));
    return rsdp_at;
}

}  // namespace margay::vmm

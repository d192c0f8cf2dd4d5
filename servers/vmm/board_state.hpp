#pragma once

#include "servers/vmm/cpu/cpuid_state.hpp"
#include "servers/vmm/devices/acpi_pm_state.hpp"
#include "servers/vmm/devices/io_apic_state.hpp"
#include "servers/vmm/devices/msix_table_state.hpp"
#include "servers/vmm/devices/pci_function_state.hpp"
#include "servers/vmm/devices/pci_host_state.hpp"
#include "servers/vmm/devices/pic_state.hpp"
#include "servers/vmm/devices/pit_state.hpp"
#include "servers/vmm/devices/rtc_state.hpp"
#include "servers/vmm/devices/time_base.hpp"
#include "servers/vmm/devices/uart_state.hpp"
#include "servers/vmm/state/slot.hpp"

#include <cstdint>
#include <type_traits>

namespace margay::vmm {

/// What is fixed when a VM is created.
struct BoardConfig {
    std::uint64_t tsc_khz;       ///< frequency of the guest's TSC, 1000..100 000 000
    std::uint64_t epoch_s;       ///< Unix time, in seconds, at which Clock::now_ns() was 0
    std::uint32_t apic_id;       ///< of vCPU 0, 0..254; the others' follow it
    std::uint8_t physical_bits;  ///< guest-physical address width for CPUID and MTRR masks, 36..52
    std::uint8_t start_in_x2apic;    ///< 1: firmware left the local APICs in x2APIC mode
    std::uint8_t zero_unknown_msrs;  ///< 1: MSRs that do not exist read zero; 0: #GP
    std::uint8_t cpus;               ///< vCPUs, 1..max_cpus
    std::uint64_t hidden_features;   ///< CpuFeatures that CPUID does not show
};

MARGAY_STATE(BoardConfig, "config", 2, 1, section_flag::critical | section_flag::constant, tsc_khz,
             epoch_s, apic_id, physical_bits, start_in_x2apic, zero_unknown_msrs, cpus,
             hidden_features);

/// What the vCPUs of a VM share: plain data, no pointers, in memory that outlives the VMM. With several vCPUs it is
/// looked at and changed under the board lock only, but for what never changes.
struct BoardState {
    StateSlot<BoardConfig> config;  // this and the next never change; nor does cpuid
    StateSlot<TimeBase> time;
    StateSlot<PicState> pic;
    StateSlot<IoApicState> io_apic;
    StateSlot<UartState> uart;
    StateSlot<PitState> pit;
    StateSlot<RtcState> rtc;
    StateSlot<AcpiPmState> acpi_pm;
    StateSlot<PciHostState> pci_host;
    StateSlot<CpuidState> cpuid;
    StateSlot<PciFunctionsState> pci_functions;
    StateSlot<MsixTableState> msix_table;
};

static_assert(std::is_trivially_copyable_v<BoardState> && std::is_standard_layout_v<BoardState>);

}  // namespace margay::vmm

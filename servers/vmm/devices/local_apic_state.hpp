#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// A local APIC. Bitmaps hold vector v in bit v % 64 of word v / 64.
struct LocalApicState {
    std::uint64_t base;         ///< MSR 0x1b: address, bit 11 enable, bit 10 x2APIC, bit 8 BSP
    std::uint64_t requests[4];  ///< IRR
    std::uint64_t in_service[4];
    std::uint64_t level[4];  ///< TMR
    std::uint64_t icr;
    std::uint64_t tsc_deadline;
    std::uint64_t timer_start_ns;
    std::uint64_t deadline_ns;  ///< next expiry of the timer, or no_deadline
    std::uint32_t id;
    std::uint32_t task_priority;
    std::uint32_t logical_destination;  ///< LDR, xAPIC mode
    std::uint32_t destination_format;   ///< DFR, xAPIC mode
    std::uint32_t spurious;             ///< SVR
    std::uint32_t error_status;         ///< ESR as read
    std::uint32_t error_pending;        ///< errors since the last write to ESR
    std::uint32_t lvt[6];               ///< timer, thermal, performance, LINT0, LINT1, error
    std::uint32_t timer_initial;
    std::uint32_t timer_divide;  ///< DCR
    std::int32_t deliverable;    ///< highest vector above the processor priority, or -1
    std::uint8_t nmi_pending;
    std::uint8_t init_pending;
    std::uint8_t startup_pending;
    std::uint8_t startup_vector;
    std::uint8_t eoi_assist_armed;  ///< the guest may complete the offered vector in memory
    std::uint8_t eoi_assist_vector;
    std::uint8_t reserved[2];
    std::uint64_t eoi_assist;  ///< KVM MSR 0x4b564d04: address of the EOI word, bit 0 enable
};

MARGAY_STATE(LocalApicState, "local_apic", 1, 1, section_flag::critical, base, requests, in_service,
             level, icr, tsc_deadline, timer_start_ns, deadline_ns, id, task_priority,
             logical_destination, destination_format, spurious, error_status, error_pending, lvt,
             timer_initial, timer_divide, deliverable, nmi_pending, init_pending, startup_pending,
             startup_vector, eoi_assist_armed, eoi_assist_vector, reserved, eoi_assist);

}  // namespace margay::vmm

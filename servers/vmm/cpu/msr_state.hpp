#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr unsigned variable_mtrrs = 8;
inline constexpr unsigned performance_counters = 6;
inline constexpr unsigned machine_check_banks = 4;
inline constexpr unsigned reported_msrs = 32;

/// MSRs that are storage: see msr.hpp for what each accepts.
struct MsrState {
    std::uint64_t tsc_adjust;
    std::uint64_t pat;
    std::uint64_t mtrr_default;
    std::uint64_t mtrr_fixed[11];
    std::uint64_t mtrr_base[variable_mtrrs];
    std::uint64_t mtrr_mask[variable_mtrrs];
    std::uint64_t misc_enable;
    std::uint64_t mcg_status;
    std::uint64_t syscfg;
    std::uint64_t hwcr;
    std::uint64_t top_mem;
    std::uint64_t top_mem2;
    std::uint64_t de_cfg;
    std::uint64_t tsc_aux;
    std::uint64_t iorr[4];  ///< base and mask of two ranges
    std::uint64_t event_select[performance_counters];
    std::uint64_t mcg_control;
    std::uint64_t mc_control[machine_check_banks];
    std::uint64_t mc_control_mask[machine_check_banks];
    std::uint64_t mc_status[machine_check_banks];
    std::uint64_t mc_address[machine_check_banks];
    std::uint64_t mc_misc[machine_check_banks];
    std::uint32_t reported[reported_msrs];  ///< that do not exist and were reported
    std::uint32_t reported_count;
    std::uint32_t reserved;
};

MARGAY_STATE(MsrState, "msr", 2, 1, section_flag::critical, tsc_adjust, pat, mtrr_default,
             mtrr_fixed, mtrr_base, mtrr_mask, misc_enable, mcg_status, syscfg, hwcr, top_mem,
             top_mem2, de_cfg, tsc_aux, iorr, event_select, mcg_control, mc_control,
             mc_control_mask, mc_status, mc_address, mc_misc, reported, reported_count, reserved);

}  // namespace margay::vmm

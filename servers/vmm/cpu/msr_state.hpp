#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr unsigned variable_mtrrs = 8;

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
};

MARGAY_STATE(MsrState, "msr", 1, 1, section_flag::critical, tsc_adjust, pat, mtrr_default,
             mtrr_fixed, mtrr_base, mtrr_mask, misc_enable, mcg_status, syscfg, hwcr, top_mem,
             top_mem2, de_cfg, tsc_aux);

}  // namespace margay::vmm

#include "servers/vmm/cpu/msr.hpp"

#include <algorithm>
#include <iterator>

namespace margay::vmm {

namespace {

// Architectural
constexpr std::uint32_t msr_p5_machine_check_address = 0x00;
constexpr std::uint32_t msr_p5_machine_check_type = 0x01;
constexpr std::uint32_t msr_tsc = 0x10;
constexpr std::uint32_t msr_platform_id = 0x17;
constexpr std::uint32_t msr_apic_base = 0x1b;
constexpr std::uint32_t msr_tsc_adjust = 0x3b;
constexpr std::uint32_t msr_patch_level = 0x8b;
constexpr std::uint32_t msr_mtrr_capability = 0xfe;
constexpr std::uint32_t msr_mcg_capability = 0x179;
constexpr std::uint32_t msr_mcg_status = 0x17a;
constexpr std::uint32_t msr_mcg_control = 0x17b;
constexpr std::uint32_t msr_misc_enable = 0x1a0;
constexpr std::uint32_t msr_mtrr_default = 0x2ff;
constexpr std::uint32_t msr_mc_first = 0x400;  // CTL, STATUS, ADDR, MISC of each bank
constexpr std::uint32_t msr_tsc_deadline = 0x6e0;
constexpr std::uint32_t msr_tsc_aux = 0xc000'0103;
// AMD
constexpr std::uint32_t msr_event_select_old = 0xc001'0000;  // the first four of each
constexpr std::uint32_t msr_counter_old = 0xc001'0004;
constexpr std::uint32_t msr_event_select = 0xc001'0200;  // event select and counter in turn
constexpr std::uint32_t msr_iorr = 0xc001'0016;
constexpr std::uint32_t msr_mc_control_mask = 0xc001'0044;
constexpr std::uint32_t msr_amd_patch_loader = 0xc001'0020;
constexpr std::uint32_t msr_syscfg = 0xc001'0010;
constexpr std::uint32_t msr_hwcr = 0xc001'0015;
constexpr std::uint32_t msr_top_mem = 0xc001'001a;
constexpr std::uint32_t msr_nb_cfg = 0xc001'001f;
constexpr std::uint32_t msr_top_mem2 = 0xc001'001d;
constexpr std::uint32_t msr_int_pending = 0xc001'0055;
constexpr std::uint32_t msr_pstate_limit = 0xc001'0061;
constexpr std::uint32_t msr_vm_cr = 0xc001'0114;
constexpr std::uint32_t msr_smm_mask = 0xc001'0113;
constexpr std::uint32_t msr_osvw_length = 0xc001'0140;
constexpr std::uint32_t msr_osvw_status = 0xc001'0141;
constexpr std::uint32_t msr_ls_cfg = 0xc001'1020;
constexpr std::uint32_t msr_ic_cfg = 0xc001'1021;
constexpr std::uint32_t msr_dc_cfg = 0xc001'1022;
constexpr std::uint32_t msr_fp_cfg = 0xc001'1028;
constexpr std::uint32_t msr_de_cfg = 0xc001'1029;
constexpr std::uint32_t msr_bu_cfg2 = 0xc001'102a;
// KVM
constexpr std::uint32_t msr_kvm_wall_clock_old = 0x11;
constexpr std::uint32_t msr_kvm_system_time_old = 0x12;
constexpr std::uint32_t msr_kvm_wall_clock = 0x4b56'4d00;
constexpr std::uint32_t msr_kvm_system_time = 0x4b56'4d01;
constexpr std::uint32_t msr_kvm_steal_time = 0x4b56'4d03;
constexpr std::uint32_t msr_kvm_eoi_assist = 0x4b56'4d04;

constexpr std::uint64_t patch_level =
    0x0100'0065;  // microcode as KVM presents it for AMD: no known erratum message
constexpr std::uint64_t fixed_mtrrs = 1U << 8;
constexpr std::uint64_t write_combining = 1U << 10;
constexpr std::uint64_t de_cfg_lfence_serializes = 1U << 1;
constexpr std::uint64_t hwcr_tsc_invariant = 1U << 24;  // TscFreqSel
constexpr std::uint64_t hwcr_mc_status_writable = 1U << 18;
constexpr std::uint64_t mcg_control_present = 1U << 8;
constexpr std::uint64_t vm_cr_svm_disabled = 0x18;  // SVMDIS and LOCK
constexpr std::uint64_t misc_enable_fast_strings = 1;

constexpr bool valid_memory_type(std::uint64_t type, bool uncached_minus) {
    return type <= 1 || (type >= 4 && type <= 6) || (uncached_minus && type == 7);
}

constexpr bool valid_memory_types(std::uint64_t types, bool uncached_minus) {
    for (unsigned i = 0; i < 64; i += 8) {
        if (!valid_memory_type((types >> i) & 0xff, uncached_minus)) {
            return false;
        }
    }
    return true;
}

/// Index in MsrState::mtrr_fixed, or -1.
constexpr int fixed_mtrr(std::uint32_t index) {
    if (index == 0x250) {
        return 0;
    }
    if (index == 0x258 || index == 0x259) {
        return static_cast<int>(index - 0x258) + 1;
    }
    if (index >= 0x268 && index <= 0x26f) {
        return static_cast<int>(index - 0x268) + 3;
    }
    return -1;
}

/// Where a register that is mere storage is kept: machine-check banks, event selects, I/O ranges. Performance counters
/// exist and are kept nowhere: they read zero, by which a guest finds that they do not count.
template <typename State>
auto storage(State& state, std::uint32_t index, bool& exists) -> decltype(&state.pat) {
    exists = true;
    if (const auto i = index - msr_mc_first; i < 4 * machine_check_banks) {
        switch (i % 4) {
        case 0: return &state.mc_control[i / 4];
        case 1: return &state.mc_status[i / 4];
        case 2: return &state.mc_address[i / 4];
        default: return &state.mc_misc[i / 4];
        }
    }
    if (const auto i = index - msr_mc_control_mask; i < machine_check_banks) {
        return &state.mc_control_mask[i];
    }
    if (const auto i = index - msr_iorr; i < std::size(state.iorr)) {
        return &state.iorr[i];
    }
    if (const auto i = index - msr_event_select_old; i < 4) {
        return &state.event_select[i];
    }
    if (const auto i = index - msr_event_select; i < 2 * performance_counters) {
        return i % 2 == 0 ? &state.event_select[i / 2] : nullptr;
    }
    exists = index - msr_counter_old < 4;
    return nullptr;
}

}  // namespace

void Msrs::reset(MsrState& state) noexcept {
    state = {};
    state.pat = 0x0007'0406'0007'0406;
    state.mtrr_default = 0xc06;  // enabled, fixed ranges too, the rest write-back
    for (auto& fixed : state.mtrr_fixed) {
        fixed = 0x0606'0606'0606'0606;
    }
    state.mtrr_fixed[2] = 0;  // 0xa0000..0xbffff: uncached
    state.misc_enable = misc_enable_fast_strings;
    state.hwcr = hwcr_tsc_invariant;
    state.de_cfg = de_cfg_lfence_serializes;
}

void Msrs::move_tsc(std::uint64_t delta) {
    clock_.adjust_tsc(delta);
    state_.edit().tsc_adjust += delta;
    apic_.tsc_changed();
    kvm_clock_.tsc_changed();
}

Msrs::News Msrs::note_unknown(std::uint32_t index) {
    const auto* const end = state_->reported + state_->reported_count;
    if (state_->reported_count == reported_msrs || std::find(state_->reported, end, index) != end) {
        return News::none;
    }
    auto& state = state_.edit();
    state.reported[state.reported_count++] = index;
    return state.reported_count == reported_msrs ? News::last : News::one;
}

MsrResult Msrs::read(std::uint32_t index, std::uint64_t& value) {
    value = 0;
    if ((index & ~0xffU) == 0x800) {
        return apic_.x2apic_read(index, value);
    }
    switch (index) {
    case msr_tsc: value = clock_.tsc(); break;
    case msr_tsc_deadline: value = apic_.tsc_deadline(); break;
    case msr_apic_base: value = apic_.base(); break;
    case msr_tsc_adjust: value = state_->tsc_adjust; break;
    case msr_patch_level: value = patch_level; break;
    case msr_pat: value = state_->pat; break;
    case msr_misc_enable: value = state_->misc_enable; break;
    case msr_mcg_capability: value = machine_check_banks | mcg_control_present; break;
    case msr_mcg_status: value = state_->mcg_status; break;
    case msr_mcg_control: value = state_->mcg_control; break;
    case msr_syscfg: value = state_->syscfg; break;
    case msr_hwcr: value = state_->hwcr; break;
    case msr_top_mem: value = state_->top_mem; break;
    case msr_top_mem2: value = state_->top_mem2; break;
    case msr_de_cfg: value = state_->de_cfg; break;
    case msr_tsc_aux: value = state_->tsc_aux; break;
    case msr_vm_cr: value = vm_cr_svm_disabled; break;
    case msr_kvm_steal_time: value = steal_time_.value(); break;
    case msr_p5_machine_check_address:
    case msr_p5_machine_check_type:
    case msr_platform_id:
    case msr_int_pending:
    case msr_pstate_limit:
    case msr_smm_mask:
    case msr_osvw_length:
    case msr_osvw_status:
    case msr_ls_cfg:
    case msr_ic_cfg:
    case msr_dc_cfg:
    case msr_fp_cfg:
    case msr_nb_cfg:
    case msr_bu_cfg2:
    case msr_kvm_wall_clock_old:
    case msr_kvm_system_time_old:
    case msr_kvm_wall_clock:
    case msr_kvm_system_time:
    case msr_kvm_eoi_assist: break;
    default: {
        const auto result = read_other(index, value);
        if (result == MsrResult::unknown) {
            ++unknown_;
        }
        return result;
    }
    }
    return MsrResult::done;
}

MsrResult Msrs::write(std::uint32_t index, std::uint64_t value) {
    if ((index & ~0xffU) == 0x800) {
        return apic_.x2apic_write(index, value);
    }
    if (index == msr_tsc_deadline) {
        apic_.write_tsc_deadline(value);
        return MsrResult::done;
    }
    switch (index) {
    case msr_apic_base: return apic_.write_base(value);
    case msr_tsc: move_tsc(value - clock_.tsc()); break;
    case msr_tsc_adjust: move_tsc(value - state_->tsc_adjust); break;
    case msr_pat:
        if (!valid_memory_types(value, true)) {
            return MsrResult::fault;
        }
        state_.edit().pat = value;
        break;
    case msr_misc_enable: state_.edit().misc_enable = value; break;
    case msr_mcg_status:
        if (value != 0) {
            return MsrResult::fault;
        }
        state_.edit().mcg_status = 0;
        break;
    case msr_mcg_control: state_.edit().mcg_control = value; break;
    case msr_syscfg:
        state_.edit().syscfg = value & 0x007c'0000;  // the MTRR and TOP_MEM bits
        break;
    case msr_hwcr: state_.edit().hwcr = value | hwcr_tsc_invariant; break;
    case msr_top_mem: state_.edit().top_mem = value; break;
    case msr_top_mem2: state_.edit().top_mem2 = value; break;
    case msr_tsc_aux:
        if (value >> 32 != 0) {
            return MsrResult::fault;
        }
        state_.edit().tsc_aux = value;
        break;
    case msr_de_cfg:
        if ((value & ~de_cfg_lfence_serializes) != 0) {
            return MsrResult::fault;
        }
        state_.edit().de_cfg = value;
        break;
    case msr_kvm_wall_clock_old:
    case msr_kvm_wall_clock: kvm_clock_.write_wall_clock(value); break;
    case msr_kvm_system_time_old:
    case msr_kvm_system_time: kvm_clock_.write_system_time(value); break;
    case msr_kvm_steal_time: return steal_time_.write(value);
    case msr_kvm_eoi_assist: return apic_.write_eoi_assist(value);
    case msr_mcg_capability:
    case msr_mtrr_capability:
    case msr_vm_cr:
    case msr_platform_id: return MsrResult::fault;  // read-only
    case msr_patch_level:
    case msr_amd_patch_loader:  // no microcode update, and no complaint
    case msr_p5_machine_check_address:
    case msr_p5_machine_check_type:
    case msr_int_pending:
    case msr_osvw_length:
    case msr_osvw_status:
    case msr_ls_cfg:
    case msr_ic_cfg:
    case msr_dc_cfg:
    case msr_fp_cfg:
    case msr_nb_cfg:
    case msr_bu_cfg2: break;
    default: {
        const auto result = write_other(index, value);
        if (result == MsrResult::unknown) {
            ++unknown_;
        }
        return result;
    }
    }
    return MsrResult::done;
}

/// Registers of which there are several.
MsrResult Msrs::read_other(std::uint32_t index, std::uint64_t& value) {
    bool exists = false;
    if (const auto* const kept = storage(*state_, index, exists); kept != nullptr) {
        value = *kept;
    }
    return exists ? MsrResult::done : read_mtrr(index, value);
}

MsrResult Msrs::write_other(std::uint32_t index, std::uint64_t value) {
    bool exists = false;
    const auto* const kept = storage(*state_, index, exists);
    if (!exists) {
        return write_mtrr(index, value);
    }
    // A status is cleared by software, and set only where HWCR.McStatusWrEn says so (APM vol. 2 §9.3.2.2).
    if (index - msr_mc_first < 4 * machine_check_banks && index % 4 == 1 && value != 0 &&
        (state_->hwcr & hwcr_mc_status_writable) == 0) {
        return MsrResult::fault;
    }
    if (kept != nullptr && *kept != value) {
        *storage(state_.edit(), index, exists) = value;
    }
    return MsrResult::done;
}

MsrResult Msrs::read_mtrr(std::uint32_t index, std::uint64_t& value) const noexcept {
    if (index == msr_mtrr_capability) {
        value = variable_mtrrs | fixed_mtrrs | write_combining;
        return MsrResult::done;
    }
    if (index == msr_mtrr_default) {
        value = state_->mtrr_default;
        return MsrResult::done;
    }
    if (index - 0x200U < 2 * variable_mtrrs) {
        const auto range = (index - 0x200) / 2;
        value = (index & 1) == 0 ? state_->mtrr_base[range] : state_->mtrr_mask[range];
        return MsrResult::done;
    }
    const auto fixed = fixed_mtrr(index);
    if (fixed < 0) {
        return MsrResult::unknown;
    }
    value = state_->mtrr_fixed[fixed];
    return MsrResult::done;
}

MsrResult Msrs::write_mtrr(std::uint32_t index, std::uint64_t value) noexcept {
    if (index == msr_mtrr_default) {
        if ((value & ~0xcffULL) != 0 || !valid_memory_type(value & 0xff, false)) {
            return MsrResult::fault;
        }
        state_.edit().mtrr_default = value;
        return MsrResult::done;
    }
    if (index - 0x200U < 2 * variable_mtrrs) {
        const auto range = (index - 0x200) / 2;
        const auto address = ((1ULL << physical_bits_) - 1) & ~0xfffULL;
        if ((index & 1) == 0) {
            if ((value & ~(address | 0xff)) != 0 || !valid_memory_type(value & 0xff, false)) {
                return MsrResult::fault;
            }
            state_.edit().mtrr_base[range] = value;
        } else {
            if ((value & ~(address | 0x800)) != 0) {
                return MsrResult::fault;
            }
            state_.edit().mtrr_mask[range] = value;
        }
        return MsrResult::done;
    }
    const auto fixed = fixed_mtrr(index);
    if (fixed < 0) {
        return MsrResult::unknown;
    }
    if (!valid_memory_types(value, false)) {
        return MsrResult::fault;
    }
    state_.edit().mtrr_fixed[fixed] = value;
    return MsrResult::done;
}

}  // namespace margay::vmm

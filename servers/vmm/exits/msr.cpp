// Class msr: the board's registers, and the few that hardware holds but the kernel intercepts.
#include "libipc/log.hpp"
#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

namespace {

constexpr std::uint32_t msr_efer = 0xc0000080;
// SCE, LME, NXE; FFXSR where CPUID shows it.
constexpr std::uint64_t efer_writable = 0x901;
constexpr std::uint64_t efer_ffxsr = 1 << 14;
constexpr std::uint64_t efer_lma = 1 << 10;
constexpr std::uint64_t efer_lme = 1 << 8;
constexpr std::uint64_t cr0_pg = 1ull << 31;

}  // namespace

// One line for each register and VM: a guest may ask for the same ones without end.
[[gnu::noinline, gnu::cold]] void Machine::on_unknown_msr(std::uint32_t index, bool write) {
    const Msrs::News news = board_.note_unknown_msr(index);
    if (news == Msrs::News::none) return;
    log("guest {} unknown MSR {x}{}\n", write ? "writes" : "reads", index,
        news == Msrs::News::last ? "; further ones are not told" : "");
}

void Machine::on_msr(const Exit& e, Reply& r) {
    const auto index = static_cast<std::uint32_t>(e.detail0);
    const bool write = (e.detail0 >> 32 & 1) != 0;
    std::uint64_t value = e.detail1;
    if (index == msr_efer) {
        read_state(state::control);
        if (write) {
            const bool changes_lme = ((value ^ state_.efer) & efer_lme) != 0;
            const bool has_ffxsr = (board_.cpuid(0x8000'0001, 0).edx >> 25 & 1) != 0;
            const std::uint64_t writable = efer_writable | (has_ffxsr ? efer_ffxsr : 0);
            if ((value & ~(writable | efer_lma)) != 0 ||
                (changes_lme && (state_.cr0 & cr0_pg) != 0)) {
                inject_exception(r, exception_vector::general_protection, true, 0);
                return;
            }
            state_.efer = (value & writable) | (state_.efer & efer_lma);
            r.dirty |= state::control;
            return;
        }
        value = state_.efer;
    } else {
        const MsrResult result =
            write ? board_.msr_write(index, value) : board_.msr_read(index, value);
        if (result != MsrResult::done) [[unlikely]] {
            if (result == MsrResult::unknown) on_unknown_msr(index, write);
            if (result == MsrResult::fault || board_.config().zero_unknown_msrs == 0) {
                inject_exception(r, exception_vector::general_protection, true, 0);
                return;
            }
        }
        if (write) {
            if (index == msr_pat) {
                state_.pat = board_.pat();
                r.dirty |= state::pat;
            }
            return;
        }
    }
    state_.gpr[gpr_rax] = value & 0xffff'ffff;
    state_.gpr[gpr_rdx] = value >> 32;
    r.dirty |= state::gpr_low;
}

}  // namespace margay::vmm

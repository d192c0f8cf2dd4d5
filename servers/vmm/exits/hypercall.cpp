// Class hypercall: KVM's, as its signature in CPUID says.
#include "servers/vmm/cpu/kvm_calls.hpp"
#include "servers/vmm/emulator/cpu_mode.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_hypercall(const Exit& e, Reply& r) {
    if (cpus_.count == 1 || !is_kvm_call(e.detail0)) return r.set_rax(kvm_no_such_call);
    on_kvm_call(e, r);
}

void Machine::on_kvm_call(const Exit& e, Reply& r) {
    read_state(state::gpr_low | state::gpr_mid | state::rflags | state::segments | state::control);
    const CpuMode mode = CpuMode::of(state_);
    const KvmCall call{e.detail0,
                       {e.detail1, state_.gpr[gpr_rcx], state_.gpr[gpr_rdx], state_.gpr[gpr_rsi]},
                       mode.is_64bit(),
                       state_.ss.attributes >> segment_attribute::dpl_shift & 3U};
    r.set_rax(answer_kvm_call(call, board_));
}

}  // namespace margay::vmm

#pragma once

#include "servers/vmm/cpu/kvm_clock_state.hpp"
#include "servers/vmm/cpu/msr_state.hpp"
#include "servers/vmm/devices/inbox_state.hpp"
#include "servers/vmm/devices/local_apic_state.hpp"
#include "servers/vmm/state/slot.hpp"
#include "servers/vmm/vcpu/answer_state.hpp"
#include "servers/vmm/vcpu/glue_state.hpp"
#include "servers/vmm/vcpu/offer_state.hpp"

namespace margay::vmm {

/// What is one vCPU's own: plain data in memory that outlives the VMM. Only that vCPU's exits change it, but for
/// the inbox.
struct CpuState {
    StateSlot<VcpuGlueState> vcpu;
    StateSlot<OfferState> offer;
    StateSlot<LocalApicState> local_apic;
    StateSlot<MsrState> msr;
    StateSlot<KvmClockState> kvm_clock;
    StateSlot<InboxState> inbox;
    StateSlot<AnswerState> answer;
};

}  // namespace margay::vmm

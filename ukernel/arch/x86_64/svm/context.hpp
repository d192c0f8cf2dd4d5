// SVM's part of a vCPU, a core and a Space. Only this folder looks behind the members that
// arch/x86_64/backend.hpp names.
#pragma once
#include <cstdint>

#include "proto/exit.hpp"
#include "proto/vcpu_state.hpp"
#include "ukernel/arch/x86_64/svm/asid.hpp"
#include "ukernel/arch/x86_64/svm/permission_map.hpp"
#include "ukernel/arch/x86_64/svm/vmcb.hpp"

namespace margay {

// What the next exit must look after; zero for most.
namespace irregular {
constexpr std::uint32_t event = 1;      // an event was injected
constexpr std::uint32_t flush = 2;      // the TLB was flushed
constexpr std::uint32_t step = 4;       // one single step, out of an interrupt shadow
constexpr std::uint32_t offered = 8;    // an interrupt is offered
constexpr std::uint32_t nmi = 16;       // an NMI waits until an exception is delivered
constexpr std::uint32_t in_nmi = 32;    // the guest has not executed IRET since its last NMI
constexpr std::uint32_t next_nmi = 64;  // and another one waits for that
constexpr std::uint32_t shadow = 128;   // entered in an interrupt shadow
}  // namespace irregular

// The guest's general registers but RAX and RSP, which the VMCB holds, are in Vcpu::gpr.
struct GuestContext {
    static constexpr std::uint64_t storage_bytes = page_size;

    std::uint64_t vmcb_phys;  // first: known to assembler
    Vmcb* vmcb;
    std::uint64_t tables_generation = 0;   // of the Space, when its translations were last dropped
    std::uint32_t asid_generation = 0;     // see asid.hpp
    std::uint32_t irregular = 0;           // see irregular
    std::uint64_t irq_vector = no_vector;  // interrupt asked for and not taken yet
    InterceptState wanted{};
    // While an interrupt shadow is stepped over: the guest's own trap flag, DR6 and EFER.
    std::uint64_t step_flag = 0, step_dr6 = 0, step_efer = 0;
    std::uint64_t shadow_rip = 0;  // where it was entered in an interrupt shadow

    std::uint64_t rip() const { return vmcb->rip; }
    std::uint64_t rax() const { return vmcb->rax; }
    std::uint64_t rflags() const { return vmcb->rflags; }
    void set_rax(std::uint64_t value) { vmcb->rax = value; }
    std::uint64_t exit_flags() const {
        std::uint64_t flags = (vmcb->interrupt_shadow & 1) * exit_flag::shadow;
        if (irregular != 0) {
            if (irregular & irregular::offered) flags |= exit_flag::irq_pending;
            if (irregular & irregular::event) flags |= exit_flag::delivering;
        }
        return flags;
    }
    // Whenever it may go on with the instruction that it stands at. Not every processor that is entered in an interrupt
    // shadow still knows of it when an interrupt ends the guest before that instruction (docs/manual/testing.md): an
    // interrupt would then be taken between STI and HLT, and the guest sleep for ever.
    void keep_shadow() {
        if ((vmcb->interrupt_shadow & 1) == 0) return;
        irregular |= irregular::shadow;
        shadow_rip = vmcb->rip;
    }
    void advance(std::uint64_t next_rip) {
        vmcb->rip = next_rip;
        vmcb->interrupt_shadow = 0;
    }
};

struct BackendCore {
    static constexpr unsigned pages = 2;

    std::uint64_t host_state;  // first: known to assembler; physical, for VMLOAD
    AsidState asid;
};

}  // namespace margay

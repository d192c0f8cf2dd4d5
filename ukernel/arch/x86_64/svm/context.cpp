// SVM's state of cores, vCPUs and Spaces (AMD APM vol. 2 chapter 15).
#include "ukernel/arch/x86_64/svm/context.hpp"

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/space.hpp"

namespace margay {

namespace {

// What the kernel intercepts whatever a handler asks for. Some emulators ignore XSETBV here: the guest then sets
// XCR0 itself, within what the node's processor has.
constexpr std::uint32_t base_intercept1 = vmcb::intr | vmcb::nmi | vmcb::smi | vmcb::init |
                                          vmcb::rdpmc | vmcb::cpuid | vmcb::invd | vmcb::hlt |
                                          vmcb::invlpga | vmcb::io | vmcb::msr | vmcb::task_switch |
                                          vmcb::ferr_freeze | vmcb::shutdown;
// #DB and #AC: see svm::give_back. Machine checks are the host's.
constexpr std::uint32_t base_exceptions = 1u << 1 | 1u << 17 | 1u << 18;
constexpr std::uint32_t base_intercept2 =
    vmcb::vmrun | vmcb::vmmcall | vmcb::vmload | vmcb::vmsave | vmcb::stgi | vmcb::clgi |
    vmcb::skinit | vmcb::wbinvd | vmcb::monitor | vmcb::mwait | vmcb::mwait_armed | vmcb::xsetbv;

}  // namespace

void svm::apply_intercepts(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    c.dr_read = c.dr_write = 0;
    c.intercept2 = base_intercept2;
    const InterceptState& i = v.guest.wanted;
    c.cr_read = i.cr_read;
    // CR8 writes are never passed: V_TPR would then decide what the handler already decided.
    c.cr_write = i.cr_write;
    if (features().pae_unchecked) c.cr_write |= 1 << 4;
    c.exceptions = i.exceptions | base_exceptions;
    c.intercept1 = base_intercept1 | ((i.flags & intercept_flag::rdtsc) ? vmcb::rdtsc : 0) |
                   ((i.flags & intercept_flag::pause) ? vmcb::pause : 0) |
                   ((i.flags & intercept_flag::invlpg) ? vmcb::invlpg : 0) |
                   ((v.guest.irregular & irregular::in_nmi) ? vmcb::iret : 0) |
                   ((i.flags & intercept_flag::interrupt_window) ? vmcb::vintr : 0);
}

void PermissionMap::init(HostPhys storage) {
    storage_ = storage;
    io_ = direct<IoBitmap>(storage);
    io_->intercept_all();
    auto& msr = *direct<MsrBitmap>(msr_phys());
    msr.intercept_all();
    // What VMLOAD and VMSAVE switch is the guest's own.
    for (const std::uint32_t index :
         {cpu::msr::fs_base, cpu::msr::gs_base, cpu::msr::kernel_gs_base, cpu::msr::star,
          cpu::msr::lstar, cpu::msr::cstar, cpu::msr::sfmask, 0x174u, 0x175u, 0x176u})
        msr.allow(index, true, true);
    // Lazily switched: the processor's is the guest's while it runs.
    if (features().tsc_aux) msr.allow(cpu::msr::tsc_aux, true, true);
}

namespace backend {

bool enable(Core& core, HostPhys memory) {
    if (!features().svm) return false;
    if (cpu::read_msr(cpu::msr::vm_cr) & (1 << 4)) return false;  // SVMDIS, locked by firmware
    cpu::write_msr(cpu::msr::efer, cpu::read_msr(cpu::msr::efer) | cpu::efer::svme);
    cpu::write_msr(cpu::msr::vm_hsave_pa, memory.value());
    const HostPhys host_state = memory + page_size;
    asm volatile("vmsave %0" : : "a"(host_state.value()) : "memory");
    core.backend = {host_state.value(), {1, features().asids, 1}};
    return true;
}

void init(Vcpu& v, HostPhys storage) {
    v.guest.vmcb_phys = storage.value();
    v.guest.vmcb = direct<Vmcb>(storage);
    Vmcb& c = *v.guest.vmcb;
    c = Vmcb{};
    c.io_bitmap = v.space->permissions.io_phys().value();
    c.msr_bitmap = v.space->permissions.msr_phys().value();
    c.asid = 1;
    c.virtual_interrupt = vmcb::v_masking;
    c.nested_control = 1;
    c.nested_cr3 = v.space->root().value();
    c.efer = cpu::efer::svme;
    c.g_pat = 0x0007040600070406;
    c.rflags = 2;
    c.dr6 = 0xffff0ff0;
    c.dr7 = 0x400;
    svm::apply_intercepts(v);
}

// As if its Space had lost entries: no Space has that generation.
void flush(Vcpu& v) { v.guest.tables_generation = 0; }

void forget(Vcpu& v) {
    lazy_registers::forget(v);
    if (v.core->last_guest == &v) v.core->last_guest = nullptr;
}

void print_state(const Vcpu& v) {
    const Vmcb& c = *v.guest.vmcb;
    log("  rip {X} rsp {X} rflags {x} cpl {}\n", c.rip, c.rsp, c.rflags, c.cpl);
    log("  rax {X} rbx {X} rcx {X} rdx {X}\n", c.rax, v.gpr[gpr_rbx], v.gpr[gpr_rcx],
        v.gpr[gpr_rdx]);
    log("  rsi {X} rdi {X} rbp {X} r8  {X}\n", v.gpr[gpr_rsi], v.gpr[gpr_rdi], v.gpr[gpr_rbp],
        v.gpr[gpr_r8]);
    log("  r9  {X} r10 {X} r11 {X} r12 {X}\n", v.gpr[gpr_r9], v.gpr[gpr_r10], v.gpr[gpr_r11],
        v.gpr[gpr_r12]);
    log("  r13 {X} r14 {X} r15 {X}\n", v.gpr[gpr_r13], v.gpr[gpr_r14], v.gpr[gpr_r15]);
    log("  cr0 {x} cr2 {x} cr3 {x} cr4 {x} efer {x}\n", c.cr0, c.cr2, c.cr3, c.cr4, c.efer);
    log("  cs {x}:{x} ss {x}:{x} gdt {x} idt {x} exit {x} {x} {x}\n", c.cs.selector, c.cs.base,
        c.ss.selector, c.ss.base, c.gdtr.base, c.idtr.base, c.exit_code, c.exit_info1,
        c.exit_info2);
}

}  // namespace backend

}  // namespace margay

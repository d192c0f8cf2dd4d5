#include "servers/vmm/vcpu/report.hpp"

#include "libipc/log.hpp"

namespace margay::vmm {

void report_failure(const VcpuState& s, std::string_view why) {
    log("guest failure: {}\n", why);
    log("  rip {X} rsp {X} rflags {x}\n", s.rip, s.gpr[gpr_rsp], s.rflags);
    log("  rax {X} rbx {X} rcx {X} rdx {X}\n", s.gpr[gpr_rax], s.gpr[gpr_rbx], s.gpr[gpr_rcx],
        s.gpr[gpr_rdx]);
    log("  rsi {X} rdi {X} rbp {X} r8  {X}\n", s.gpr[gpr_rsi], s.gpr[gpr_rdi], s.gpr[gpr_rbp],
        s.gpr[gpr_r8]);
    log("  r9  {X} r10 {X} r11 {X} r12 {X}\n", s.gpr[gpr_r9], s.gpr[gpr_r10], s.gpr[gpr_r11],
        s.gpr[gpr_r12]);
    log("  r13 {X} r14 {X} r15 {X}\n", s.gpr[gpr_r13], s.gpr[gpr_r14], s.gpr[gpr_r15]);
    log("  cr0 {x} cr2 {x} cr3 {x} cr4 {x} efer {x}\n", s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
    log("  cs {x}:{x} ss {x}:{x} gdt {x} idt {x}\n", s.cs.selector, s.cs.base, s.ss.selector,
        s.ss.base, s.gdtr.base, s.idtr.base);
    log("  last exits, newest first:\n");
    std::uint64_t newest = 0;
    for (const ExitRecord& r : s.records)
        if (r.sequence_class >> 8 > newest) newest = r.sequence_class >> 8;
    for (std::uint64_t i = 0; i < exit_records && i < newest; ++i) {
        const ExitRecord& r = s.records[(newest - i) % exit_records];
        log("  {} {} rip {x} {x} {x}\n", r.sequence_class >> 8,
            to_text(static_cast<ExitClass>(r.sequence_class & 0xff)), r.rip, r.detail0, r.detail1);
    }
}

void set_reason(VmControl& control, std::string_view why) { control.reason.write(why); }

void end_vm(VmControl& control, std::string_view why, VmOutcome outcome) {
    set_reason(control, why);
    control.outcome.store(outcome);
}

}  // namespace margay::vmm

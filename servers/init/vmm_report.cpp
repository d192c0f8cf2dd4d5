#include "servers/init/vmm_report.hpp"

#include "libipc/log.hpp"
#include "proto/exception.hpp"
#include "support/symbols.hpp"

namespace margay::init {

namespace {

constexpr unsigned shown_exits = 8;
constexpr unsigned max_frames = 16;

std::uint64_t value(const VmmProcess& p, ThreadRegister r) {
    const Result<std::uint64_t> v = read_register(p.thread_of_interest(), r);
    return v ? *v : 0;
}

void print_frame(unsigned number, const Image* image, std::uint64_t rip, std::uint64_t looked_up) {
    const FunctionAt f = image == nullptr || image->symbols == nullptr
                             ? FunctionAt{}
                             : find_function(*image->symbols, image->bytes_of_symbols(), looked_up);
    if (f.name.empty())
        log("  #{} {X}\n", number, rip);
    else
        log("  #{} {X} {}+{x}\n", number, rip, f.name, f.offset);
}

void print_frames(const VmmProcess& vmm) {
    const Program& p = vmm.program();
    std::uint64_t rip = value(vmm, ThreadRegister::rip), rbp = value(vmm, ThreadRegister::rbp);
    for (unsigned i = 0; i < max_frames; ++i) {
        // A return address lies behind its call: look up the call itself.
        print_frame(i, p.image(), rip, i == 0 ? rip : rip - 1);
        std::uint64_t next = 0;
        if (!p.read_stack(rbp + 8, rip) || !p.read_stack(rbp, next) || rip == 0) return;
        if (next != 0 && next <= rbp) return;  // frames go up; anything else is a smashed stack
        rbp = next;
    }
}

void print_exit(const ExitRecord& r) {
    log("  {} {} rip {x} {x} {x}\n", r.sequence_class >> 8,
        to_text(static_cast<ExitClass>(r.sequence_class & 0xff)), r.rip, r.detail0, r.detail1);
}

void report_registers(const char* vm, const VmmProcess& p, const char* cause) {
    using R = ThreadRegister;
    log("margay: VMM of {} ended: {}\n", vm, cause);
    if (const std::uint64_t vector = value(p, R::fault_vector); vector != no_fault)
        log("  {} (error {x}, address {x})\n", exception_name(vector), value(p, R::fault_error),
            value(p, R::fault_address));
    log("  rip {X} rsp {X} rflags {x}\n", value(p, R::rip), value(p, R::rsp), value(p, R::rflags));
    log("  rax {X} rbx {X} rcx {X} rdx {X}\n", value(p, R::rax), value(p, R::rbx), value(p, R::rcx),
        value(p, R::rdx));
    log("  rsi {X} rdi {X} rbp {X} r8  {X}\n", value(p, R::rsi), value(p, R::rdi), value(p, R::rbp),
        value(p, R::r8));
    log("  r9  {X} r10 {X} r11 {X} r12 {X}\n", value(p, R::r9), value(p, R::r10), value(p, R::r11),
        value(p, R::r12));
    log("  r13 {X} r14 {X} r15 {X}\n", value(p, R::r13), value(p, R::r14), value(p, R::r15));
}

void report_exits(const GuestCpu& cpu, std::uint64_t died_at) {
    log("  last exits of the guest, newest first:\n");
    for (std::uint64_t i = 0; i < shown_exits && i < died_at; ++i) {
        const ExitRecord& r = cpu.state->records[(died_at - i) % exit_records];
        // A successor may have handled so many since that it is gone.
        if (r.sequence_class >> 8 == died_at - i) print_exit(r);
    }
}

}  // namespace

void report_dead_vmm(const char* vm, const VmmProcess& p, const GuestCpu& cpu,
                     std::uint64_t died_at, const char* cause, unsigned part) {
    switch (part) {
    case 0: return report_registers(vm, p, cause);
    case 1: return print_frames(p);
    case 2: return report_exits(cpu, died_at);
    default: return;
    }
}

void report_frozen(const char* vm, const GuestCpu& cpu, std::uint64_t sequence,
                   const char* reason) {
    log("margay: guest {} frozen: {}\n", vm, reason);
    log("  the exit that waits (number, class, rip, details):\n");
    print_exit(cpu.state->records[sequence % exit_records]);
    if (vcpu_ctl(cpu.vcpu, VcpuOp::read_state, state::all & ~(state::event | state::intercepts)) !=
        Status::ok)
        return;
    const VcpuState& s = *cpu.state;
    log("  rip {X} rsp {X} rflags {x} cr0 {x} cr3 {x} cr4 {x} efer {x}\n", s.rip, s.gpr[gpr_rsp],
        s.rflags, s.cr0, s.cr3, s.cr4, s.efer);
    log("  rax {X} rbx {X} rcx {X} rdx {X}\n", s.gpr[gpr_rax], s.gpr[gpr_rbx], s.gpr[gpr_rcx],
        s.gpr[gpr_rdx]);
    log("  rsi {X} rdi {X} rbp {X}\n", s.gpr[gpr_rsi], s.gpr[gpr_rdi], s.gpr[gpr_rbp]);
    log("margay: guest {} keeps its state; vmm-swap gives it another VMM, destroy ends it\n", vm);
}

}  // namespace margay::init

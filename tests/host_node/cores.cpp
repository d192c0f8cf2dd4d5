#include "tests/host_node/cores.hpp"

#include <csignal>
#include <cstdlib>
#include <iterator>

#include "tests/host_node/user_memory.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/page_table.hpp"
#include "ukernel/sched/scheduler.hpp"

extern "C" [[noreturn]] void user_interrupt(margay::InterruptFrame* frame);
extern "C" void kernel_interrupt(margay::InterruptFrame* frame);
extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu);

namespace margay::host_node {

namespace {

constexpr std::uint64_t program_base = 0x40'0000, program_distance = 16;
constexpr std::uint64_t token_base = 0x6000'0000, token_distance = 16;
constexpr std::uint64_t syscall_length = 2;
constexpr std::uint64_t no_interrupt = 0;
constexpr std::uint64_t invalid_opcode = 6, page_fault = 14;
constexpr std::uint64_t page_fault_write = 2, page_fault_user = 4;

Cores* the_cores = nullptr;
Cores::UserCode* current = nullptr;
bool serving_fault = false;
struct sigaction handler_before[NSIG];

void leave_for(Cores::Reason reason) {
    current->reason = reason;
    Fiber::leave();
}

// Host code that fails is the business of whoever had the signal before.
void pass_on(int number) {
    sigaction(number, &handler_before[number], nullptr);
    // Happens again, at the same instruction.
}

void on_fault(int number, siginfo_t* info, void* context) {
    if (Fiber::current() == nullptr || serving_fault) return pass_on(number);
    const auto address = reinterpret_cast<std::uint64_t>(info->si_addr);
    const auto error =
        static_cast<std::uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR]);
    const bool write = number == SIGSEGV && (error & page_fault_write) != 0;
    serving_fault = true;
    const bool visible = number == SIGSEGV && user_memory::resolve(address, write);
    serving_fault = false;
    if (visible) return;
    current->vector = number == SIGILL ? invalid_opcode : page_fault;
    current->error = page_fault_user | (write ? page_fault_write : 0);
    current->address = address;
    leave_for(Cores::Reason::fault);  // its fiber is not resumed any more
}

void install_handlers() {
    for (const int number : {SIGSEGV, SIGILL, SIGBUS}) {
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigaction(number, &action, &handler_before[number]);
    }
}

void remove_handlers() {
    for (const int number : {SIGSEGV, SIGILL, SIGBUS})
        sigaction(number, &handler_before[number], nullptr);
}

// As the interrupt stubs push it: the registers are those that the kernel has of the thread anyway.
InterruptFrame frame_of(const Thread& t, std::uint64_t vector) {
    const auto& r = t.gpr;
    return {r[gpr_rax], r[gpr_rcx], r[gpr_rdx], r[gpr_rbx], r[gpr_rbp], r[gpr_rsi],
            r[gpr_rdi], r[gpr_r8],  r[gpr_r9],  r[gpr_r10], r[gpr_r11], r[gpr_r12],
            r[gpr_r13], r[gpr_r14], r[gpr_r15], vector,     0,          t.rip,
            0,          t.rflags,   r[gpr_rsp], 0};
}

}  // namespace

Cores::Cores() : next_token_{token_base} {
    the_cores = this;
    install_handlers();
    user_memory::load(HostPhys{0});
    machine::now.on_cr3_write = [](unsigned) { user_memory::flush(); };
}

Cores::~Cores() {
    machine::now.on_cr3_write = nullptr;
    user_memory::load(HostPhys{0});
    user_memory::flush();
    remove_handlers();
    the_cores = nullptr;
}

std::uint64_t Cores::add_program(std::function<void(std::uint64_t)> body) {
    const std::uint64_t entry = program_base + programs_.size() * program_distance;
    programs_[entry] = std::move(body);
    return entry;
}

bool Cores::is_alive(const Thread* thread, std::uint64_t token) {
    return thread->state != ContextState::dead &&
           (thread->rip == token || thread->rip == token - syscall_length);
}

Thread& Cores::this_thread() { return *current->thread; }
std::uint64_t Cores::this_token() { return current->token; }
void Cores::spin() { leave_for(Reason::spin); }

void Cores::sweep() {
    for (auto c = code_.begin(); c != code_.end();)
        c = is_alive(c->second.thread, c->first) ? std::next(c) : code_.erase(c);
}

Cores::UserCode& Cores::code_of(Thread& t) {
    for (const std::uint64_t token : {t.rip, t.rip + syscall_length})
        if (const auto c = code_.find(token); c != code_.end()) return c->second;
    const auto program = programs_.find(t.rip);
    if (program == programs_.end()) throw machine::Panic{"a thread begins where no program is"};
    sweep();
    next_token_ += token_distance;
    t.rip = next_token_;
    UserCode& code = code_[next_token_];
    code.thread = &t;
    code.token = next_token_;
    code.fiber = std::make_unique<Fiber>([&code, body = &program->second] {
        (*body)(code.thread->gpr[gpr_rdi]);
        __builtin_trap();  // as start_program does
    });
    return code;
}

void Cores::run_thread(unsigned core, Thread& t) {
    UserCode& code = code_of(t);
    if (t.rip == code.token && is_doomed && is_doomed(t)) {
        code.reason = Reason::fault;
        code.vector = invalid_opcode;
        code.error = code.address = 0;
    } else if (t.rip == code.token && (code.stuck || (is_stuck && is_stuck(t)))) {
        code.stuck = true;
        code.reason = Reason::spin;
    } else if (t.rip == code.token) {
        user_memory::load(HostPhys{machine::now.cr3[core] & pte::address_mask});
        current = &code;
        code.fiber->resume();
        current = nullptr;
    } else {
        // A revocation goes on: the instruction is repeated.
        t.rip = code.token;
        code.reason = Reason::system_call;
    }
    switch (code.reason) {
    case Reason::system_call:
        t.full_frame = 0;
        running_[core] = machine::run([&t] { machine::enter_kernel(t); });
        break;
    case Reason::fault: fault(core, t, code); break;
    case Reason::spin: spin_on(core); break;
    }
}

// Nothing happens before the next timer, unless another core is at work.
void Cores::spin_on(unsigned core) {
    for (unsigned other = 0; other < machine::cores; ++other)
        if (other != core && running_[other] != nullptr) {
            machine::now.tsc += step_ticks;
            return;
        }
    std::uint64_t next = no_deadline;
    for (const std::uint64_t timer : machine::now.timer)
        if (timer < next) next = timer;
    if (next == no_deadline) throw machine::Panic{"a thread spins for ever"};
    if (next > machine::now.tsc) machine::now.tsc = next;
}

void Cores::fault(unsigned core, Thread& t, const UserCode& code) {
    InterruptFrame frame = frame_of(t, code.vector);
    frame.error = code.error;
    machine::now.cr2 = code.address;
    running_[core] = machine::run([&frame] { user_interrupt(&frame); });
}

void Cores::run_guest(unsigned core, Vcpu& v) {
    guest(v);
    running_[core] = machine::run([&v] { guest_exited(&v); });
}

void Cores::interrupt(unsigned core, std::uint64_t vector) {
    Context* const c = running_[core];
    if (c != nullptr && c->is_thread()) {
        InterruptFrame frame = frame_of(static_cast<Thread&>(*c), vector);
        running_[core] = machine::run([&frame] { user_interrupt(&frame); });
        return;
    }
    InterruptFrame frame{};
    frame.vector = vector;
    if (c == nullptr) {
        running_[core] = machine::run([&frame] {
            kernel_interrupt(&frame);
            scheduler::leave();
        });
        return;
    }
    auto& v = static_cast<Vcpu&>(*c);
    if (guest_entry) guest_entry(v);
    v.guest.vmcb->exit_code = vmcb::exit_intr;
    v.guest.vmcb->exit_int_info = 0;
    machine::now.on_take_interrupts = [&frame] { kernel_interrupt(&frame); };
    running_[core] = machine::run([&v] { guest_exited(&v); });
    machine::now.on_take_interrupts = nullptr;
}

// The interrupt that the core gets now.
std::uint64_t Cores::due(unsigned core) {
    if (machine::now.tsc >= machine::now.timer[core]) {
        machine::now.timer[core] = no_deadline;
        return apic::vector::timer;
    }
    for (unsigned gsi = 0; core == 0 && lines_ >> gsi != 0; ++gsi)
        if ((lines_ >> gsi & 1) != 0 && !machine::now.line_masked[gsi]) {
            lines_ &= ~(1ull << gsi);
            return apic::vector::first_gsi + gsi;
        }
    const Context* c = running_[core];
    // It was kicked, and the simulated machine has served the kick at once.
    const bool attention =
        c != nullptr && !c->is_thread() && static_cast<const Vcpu*>(c)->attention != 0;
    if (c != nullptr && (machine::core(core).reschedule || attention)) return apic::vector::kick;
    return no_interrupt;
}

bool Cores::step(unsigned core) {
    machine::switch_to(core);
    if (before_step) before_step(core);
    machine::now.tsc += step_ticks;
    if (running_[core] == nullptr || machine::core(core).current != running_[core])
        running_[core] = machine::run([] { scheduler::leave(); });
    else if (const std::uint64_t vector = due(core); vector != no_interrupt)
        interrupt(core, vector);
    if (running_[core] == nullptr) {
        const std::uint64_t vector = due(core);
        if (vector == no_interrupt) return false;
        interrupt(core, vector);
    }
    Context* const c = running_[core];
    if (c == nullptr) return false;
    if (c->is_thread())
        run_thread(core, static_cast<Thread&>(*c));
    else
        run_guest(core, static_cast<Vcpu&>(*c));
    if (after_step) after_step(core);
    return true;
}

bool Cores::run(const std::function<bool()>& done, std::uint64_t rounds) {
    for (std::uint64_t i = 0; i < rounds; ++i) {
        if (done()) return true;
        bool any = false;
        for (unsigned core = 0; core < machine::cores; ++core) any |= step(core);
        if (any) continue;
        std::uint64_t next = no_deadline;
        for (const std::uint64_t timer : machine::now.timer)
            if (timer < next) next = timer;
        if (next == no_deadline) return done();
        if (next > machine::now.tsc) machine::now.tsc = next;
    }
    return false;
}

}  // namespace margay::host_node

namespace margay::raw {

using host_node::Cores;

Status system_call(Syscall number, Registers& r) {
    Thread& t = Cores::this_thread();
    t.gpr[gpr_rax] = static_cast<std::uint64_t>(number);
    t.gpr[gpr_rdi] = r.rdi, t.gpr[gpr_rsi] = r.rsi, t.gpr[gpr_rdx] = r.rdx, t.gpr[gpr_r8] = r.r8;
    t.gpr[gpr_r9] = r.r9, t.gpr[gpr_r10] = r.r10, t.gpr[gpr_r12] = r.r12, t.gpr[gpr_r13] = r.r13;
    host_node::leave_for(Cores::Reason::system_call);
    r = {t.gpr[gpr_rdi], t.gpr[gpr_rsi], t.gpr[gpr_rdx], t.gpr[gpr_r8],
         t.gpr[gpr_r9],  t.gpr[gpr_r10], t.gpr[gpr_r12], t.gpr[gpr_r13]};
    return static_cast<Status>(t.gpr[gpr_rax]);
}

std::uint64_t rdtsc() {
    const Cores& cores = *host_node::the_cores;
    if (cores.time_of)
        if (const auto seen = cores.time_of(Cores::this_thread())) return *seen;
    return machine::now.tsc += cores.look_ticks;
}

// A processor with SVM and without NRIPS.
Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    const Cores& cores = *host_node::the_cores;
    if (cores.processor_of)
        if (const auto seen = cores.processor_of(Cores::this_thread(), leaf, subleaf)) return *seen;
    if (leaf == 0x8000'000a) return {1, 16, 0, 1};
    return {leaf * 3, subleaf, 0xffff'ffff, 0xffff'ffff};
}

}  // namespace margay::raw

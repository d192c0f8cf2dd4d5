#include "ukernel/debug/report.hpp"

#include "proto/exception.hpp"
#include "proto/symbols.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/report/backtrace.hpp"

extern "C" const margay::SymbolTable margay_symbols_begin;

namespace margay {

namespace {

void sink(char c) { console::put(c); }

}  // namespace

void report_thread_fault(const Thread& t) {
    console::lock();
    print(sink, "\nmargay: fault in server {}: {} (error {x}, address {x})\n",
          t.domain != nullptr ? t.domain->name : "?", exception_name(t.fault_vector), t.fault_error,
          t.fault_address);
    print(sink, "  rip {X} rsp {X} rflags {x}\n", t.rip, t.gpr[gpr_rsp], t.rflags);
    print(sink, "  rax {X} rbx {X} rcx {X} rdx {X}\n", t.gpr[gpr_rax], t.gpr[gpr_rbx],
          t.gpr[gpr_rcx], t.gpr[gpr_rdx]);
    print(sink, "  rsi {X} rdi {X} rbp {X} r8  {X}\n", t.gpr[gpr_rsi], t.gpr[gpr_rdi],
          t.gpr[gpr_rbp], t.gpr[gpr_r8]);
    print(sink, "  r9  {X} r10 {X} r11 {X} r12 {X}\n", t.gpr[gpr_r9], t.gpr[gpr_r10],
          t.gpr[gpr_r11], t.gpr[gpr_r12]);
    print(sink, "  r13 {X} r14 {X} r15 {X}\n", t.gpr[gpr_r13], t.gpr[gpr_r14], t.gpr[gpr_r15]);
    if (t.domain != nullptr)
        print_backtrace(read_user_word, t.domain, t.domain->symbols, t.rip, t.gpr[gpr_rbp]);
    console::unlock();
}

void report_guest_failure(const Vcpu& v, const char* why) {
    log("\nmargay: guest failure: {}\n", why);
    backend::print_state(v);
    log("  last exits, newest first:\n");
    for (unsigned i = 0; i < exit_records && i < v.sequence; ++i) {
        const ExitRecord& r = v.page->records[(v.sequence - i) % exit_records];
        log("  {} {} rip {x} {x} {x}\n", r.sequence_class >> 8,
            to_text(static_cast<ExitClass>(r.sequence_class & 0xff)), r.rip, r.detail0, r.detail1);
    }
}

void stop_node(const char* why) {
    log("margay: the node stops: {}\n", why);
    // The emulators of tests listen there, QEMU at the first port and Bochs at the second; on other
    // machines nothing answers.
    cpu::out8(0xf4, 0x11);
    cpu::out8(0xe9, 0x11);
    cpu::halt_forever();
}

void report_kernel_fault(const InterruptFrame& f, const char* what) {
    console::lock();
    print(sink, "\nmargay: kernel fault on core {}: {} (vector {}, error {x}, address {x})\n",
          Core::here().id, what != nullptr ? what : exception_name(f.vector), f.vector, f.error,
          cpu::read_cr2());
    print(sink, "  rip {X} rsp {X} rflags {x} cs {x}\n", f.rip, f.rsp, f.rflags, f.cs);
    print(sink, "  rax {X} rbx {X} rcx {X} rdx {X}\n", f.rax, f.rbx, f.rcx, f.rdx);
    print(sink, "  rsi {X} rdi {X} rbp {X} r8  {X}\n", f.rsi, f.rdi, f.rbp, f.r8);
    print(sink, "  r9  {X} r10 {X} r11 {X} r12 {X}\n", f.r9, f.r10, f.r11, f.r12);
    print(sink, "  r13 {X} r14 {X} r15 {X}\n", f.r13, f.r14, f.r15);
    print_backtrace(read_kernel_word, nullptr,
                    reinterpret_cast<std::uint64_t>(&margay_symbols_begin), f.rip, f.rbp);
    console::unlock();
    stop_node("kernel fault");
}

void panic(const char* what, const char* file, int line) {
    console::lock();
    print(sink, "\nmargay: kernel invariant violated: {} ({}:{})\n", what, file, line);
    print_backtrace(read_kernel_word, nullptr,
                    reinterpret_cast<std::uint64_t>(&margay_symbols_begin),
                    reinterpret_cast<std::uint64_t>(__builtin_return_address(0)),
                    reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)));
    console::unlock();
    stop_node("kernel invariant violated");
}

}  // namespace margay

namespace boost {
// Boost.Intrusive's assertions (BOOST_ENABLE_ASSERT_HANDLER).
void assertion_failed(const char* expression, const char*, const char* file, long line) {
    margay::panic(expression, file, static_cast<int>(line));
}
}  // namespace boost

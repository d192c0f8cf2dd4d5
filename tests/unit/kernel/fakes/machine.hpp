// A simulated machine for the kernel's own sources: RAM, cores, a clock, interrupt controllers. One
// test thread plays all cores; work for another core is done when that core is kicked.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ukernel/arch/x86_64/mitigation.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::machine {

constexpr unsigned cores = 3;
constexpr std::uint64_t ram_begin = 0x100'0000;
constexpr std::uint64_t ram_bytes = 16 << 20, max_ram_bytes = 256 << 20;

// What a way out of the kernel throws.
struct Entered {
    Context* context;
};
struct Idle {};
struct Panic {
    std::string what;
};

// What the kernel did to the machine, and what it will find there.
struct State {
    std::uint64_t tsc;
    std::uint64_t cr3[cores];
    std::uint64_t cr3_writes[cores];
    std::uint64_t timer[cores];  // no_deadline: not armed
    bool line_masked[128];
    std::vector<std::pair<std::uint16_t, std::uint32_t>> port_writes;
    std::uint32_t port_value;
    std::vector<std::string> guest_failures;
    std::uint64_t tsc_khz;
    std::uint64_t cr2;
    std::string console;  // what the kernel printed
    // In the place of port_writes and port_value.
    std::function<std::uint32_t(std::uint16_t port, unsigned width)> on_port_read;
    std::function<void(std::uint16_t port, unsigned width, std::uint32_t value)> on_port_write;
    // The translations of a core are flushed; by whatever it loads, the same tables included.
    std::function<void(unsigned core)> on_cr3_write;
    // Those of all process-context identifiers are.
    std::function<void(unsigned core)> on_full_flush;
    // A core lets in what interrupted a guest.
    std::function<void()> on_take_interrupts;
    bool hold_kicks;       // kicked cores do not come until the test runs serve_kicks or serve
    std::uint64_t within;  // bit n: core n waits in the kernel while others are served
    std::uint64_t kicked;  // bit n: core n was kicked and has not come yet
    // In the place of serve_kicks when a core spins: what the others do meanwhile. It returns with the
    // same core running.
    std::function<void()> on_pause;
    // The registers that are switched lazily: as FXSAVE stores them, and what XSAVE stores behind its header.
    std::uint8_t fpu[512];
    std::uint8_t vector[xsave_bytes - xsave_header - xsave_header_bytes];
    std::uint64_t xcr0;
    std::uint64_t dr[4];
    XsaveLayout xsave;
    bool tsc_aux;
    bool x87_pointers_clear;
    std::map<std::uint32_t, std::uint64_t> msr;
    bool nothing_in_service;              // in the local APIC
    std::set<unsigned> requested[cores];  // there, vectors that it has not delivered
    unsigned ends_of_interrupt;
    Mitigations mitigations;
    unsigned branch_barriers;
    bool gigabyte_pages;
    bool next_rip;
    bool pcid, invpcid;
    bool pae_unchecked, injects_twice;
    std::uint64_t guest_cr4 = 0x3007ff;
};
extern State now;

// A fresh machine: RAM full of rubbish, core 0 runs, nothing is ready. At most max_ram_bytes.
void reset(std::uint64_t ram = ram_bytes);
// The file that the simulated RAM is: what is at host-physical ram_begin lies at its begin.
int ram_file();
// Continues on another core.
void switch_to(unsigned core);
// All cores look at their mailboxes.
void serve_kicks();
// One core does, whichever runs now.
void serve(unsigned core);
// The timer of this core fires.
void fire_timer();
Core& core(unsigned id);
// Takes page-aligned RAM that nobody uses yet.
HostPhys take_ram(std::uint64_t bytes);

// What the stub does with a system call of the thread, whose registers are in the thread and which is
// current on this core: the fast path's cases go through the slow one, which does the same.
[[noreturn]] void enter_kernel(Thread& thread);

// Runs f, which ends in the kernel's exit; who was entered, or null if the core idles.
template <typename F>
Context* run(F&& f) {
    try {
        f();
    } catch (const Entered& e) {
        return e.context;
    } catch (const Idle&) {}
    return nullptr;
}

}  // namespace margay::machine

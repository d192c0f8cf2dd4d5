// What a policy server is made of: a class with on_exit(), and MARGAY_POLICY. docs/manual/writing-a-policy.md
//
//   struct Count {
//       policy::Answer on_exit(const policy::Exit&) { ...; return policy::forward(); }
//   };
//   MARGAY_POLICY(Count)
//
// What is skipped is assumed to have the shortest encoding where exit_flag::length_assumed is set.
//
// Exits of vCPUs on different cores come at the same time, on a thread of each core. An exit that is forwarded goes to the
// VMM as if there were no policy. A policy that dies, or does not answer within the VM's hang_ms, is detached, and the exit that
// it had goes to the VMM.
#pragma once
#include <atomic>
#include <string_view>

#include "libipc/log.hpp"
#include "libipc/startup.hpp"
#include "libipc/system_call.hpp"
#include "proto/policy.hpp"
#include "proto/vcpu_state.hpp"
#include "support/format.hpp"

namespace margay::policy {

struct Exit {
    ExitClass exit_class;
    std::uint64_t flags;  // exit_flag
    unsigned vcpu;
    std::uint64_t sequence, rip, detail0, detail1, rax, rflags;
    VcpuState&
        state;  // the groups that it wants (want()) are as they were at the exit; written: see below
};

struct Answer {
    Action action = Action::forward;
    std::uint64_t dirty = 0;  // state::rax_word, state::gpr_low, or nothing
    std::uint64_t rax = 0;
};

// The VMM answers it.
constexpr Answer forward() { return {}; }
// The instruction is skipped.
constexpr Answer skip() { return {Action::advance}; }
// Likewise, and RAX gets a value.
constexpr Answer skip_with_rax(std::uint64_t rax) {
    return {Action::advance, state::rax_word, rax};
}

// The instruction is skipped, and RAX RCX RDX RBX become what the policy has written to Exit::state. Only if it was
// attached `with-state`: otherwise the page is read-only.
constexpr Answer skip_with_low_registers() { return {Action::advance, state::gpr_low}; }

// What it was attached with, behind the classes.
std::string_view options();
unsigned cpus();
// Exits of the class come with these state groups. In the constructor.
void want(ExitClass c, std::uint64_t groups);
// A line for the operator (`ctl policies`), at most 103 bytes; it stands until the next one.
void report(std::string_view text);
// A number that `ctl policies` shows under that name, cut to 15 bytes; there is room for one per exit class.
std::atomic<std::uint64_t>& figure(unsigned index, std::string_view name);
// In the constructor: the options make no sense. It is not attached.
[[noreturn]] void refuse(std::string_view why);

// Of run(): the state page of a vCPU, and of a message from its portal the exit.
Exit exit_of(const Received& r);
// It takes exits from here on. Once, from the main thread.
void get_ready();

template <typename Policy>
[[noreturn]] void run(Policy& its, std::uint64_t argument) {
    if (argument % page_size == 0) get_ready();
    Received r = reply_wait({});
    for (;;) {
        if (r.status != Status::ok) fail("a reply was refused", r.status);
        const Exit e = exit_of(r);
        Answer a = its.on_exit(e);
        // A guest that steps through itself is to stop behind the instruction: the VMM sees to that.
        constexpr std::uint64_t trap_flag = 1 << 8;
        if (a.action == Action::advance && (e.rflags & trap_flag) != 0) a = forward();
        r = reply_wait(
            {static_cast<std::uint64_t>(a.action), {r.message.words[0], a.dirty, a.rax}});
    }
}

}  // namespace margay::policy

#define MARGAY_POLICY(Type)                                                                        \
    void program_main(std::uint64_t argument) {                                                    \
        static Type its;                                                                           \
        margay::policy::run(its, argument);                                                        \
    }

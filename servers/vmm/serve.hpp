// The VMM's loop: one exit, one answer.
#pragma once
#include "libipc/log.hpp"
#include "servers/vmm/open.hpp"
#include "servers/vmm/vcpu/turn.hpp"

namespace margay::vmm {

// What the production build does around an exit. Builds for tests pass something of their own to serve().
struct NoHook {
    void before(const Exit&) {}
    void after(const Exit&, Reply&) {}
};

// Takes over or creates the VM, then handles the exits of those vCPUs that run on this thread's core; a further
// thread (its `argument`: see libipc/start.hpp) is started when that is done. A reply is where an exit is committed:
// everything before it can be cut off at any instruction and is then undone by a successor.
template <typename Hook>
[[noreturn]] void serve(Hook& hook, std::uint64_t argument) {
    if (argument % page_size == 0) open_machine();
    Received r = reply_wait({});
    Turn turn;
    for (;;) {
        if (r.status != Status::ok) fail("a reply was refused", r.status);
        const Exit e{r.message};
        hook.before(e);
        // The badge is of the portal, which the supervisor has bound.
        Machine& machine = r.badge == 0 ? the_machine() : further_machine(r.badge);
        Reply reply = machine.handle(e);
        if (machine.shares_core()) [[unlikely]]
            reply.dirty |= turn.goes_to(machine);
        hook.after(e, reply);
        r = reply_wait(reply.message(e.sequence));
    }
}

}  // namespace margay::vmm

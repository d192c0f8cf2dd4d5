// A capability is given and revoked on core 0 without end while core 1 uses it: ten seconds for each kind of
// use. The boot option race= says which.
#include <string_view>

#include "libipc/start.hpp"
#include "proto/exit.hpp"
#include "support/options.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;
std::uint64_t ms() { return node->info().tsc_khz; }
Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }

// words[0]: how often it went well; words[1]: how often it was refused.
#define MARGAY_USER(name, statement)                                                               \
    [[gnu::section(".text.child_" #name), gnu::aligned(4096), gnu::flatten]] void name(            \
        Shared* s) {                                                                               \
        for (;;) {                                                                                 \
            const Status status = (statement);                                                     \
            const unsigned at = status == Status::ok || status == Status::timed_out ? 0 : 1;       \
            s->words[at] = s->words[at] + 1;                                                       \
        }                                                                                          \
    }
inline Status call_it() {
    Message m{1, {1}};
    return call(child_portal, m);
}
MARGAY_USER(caller, call_it())
MARGAY_USER(signaller, signal(child_portal, 1))
MARGAY_USER(waiter, wait(child_portal, rdtsc() + 1000).status())
MARGAY_USER(memory_user, query_memory(child_portal).status())
MARGAY_USER(port_user, port_write(child_portal, 0x80, 1, 0))
MARGAY_USER(thread_user, thread_ctl(child_portal, ThreadOp::start) == Status::in_use
                             ? Status::ok
                             : Status::stale)
MARGAY_USER(copier, copy(child_portal, child_event, 9) == Status::ok ? revoke(9, revoke_flag::self)
                                                                     : Status::bad_capability)

[[gnu::section(".text.child_echo"), gnu::aligned(4096)]] void echo(Shared*) {
    Received r = reply_wait({});
    for (;;) r = reply_wait(r.message);
}

struct Kind {
    std::string_view name;
    void (*user)(Shared*);
};
constexpr Kind kinds[] = {{"call", caller},       {"signal", signaller}, {"wait", waiter},
                          {"query", memory_user}, {"port", port_user},   {"thread", thread_user},
                          {"copy", copier}};

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    const std::string_view wanted = find_option(node->info().command_line, "race").value_or("");
    const Kind* kind = nullptr;
    for (const Kind& k : kinds)
        if (k.name == wanted) kind = &k;
    EXPECT(kind != nullptr);
    if (kind == nullptr) finish();
    Child user{*node}, server{*node};
    user.make(1, 20, kind->user);
    must(copy(user.domain, user.domain, child_event), "copy");
    Slot target = node->new_slot();
    if (wanted == "call") {
        server.make(1, 20, echo);
        must(create_portal(target, memory().slot, server.thread, init_slot::first_core + 1),
             "portal");
        server.start();
    } else if (wanted == "query" || wanted == "copy") {
        target = memory().slot;
    } else if (wanted == "port") {
        must(carve(target, init_slot::ports, 0x80, 1), "ports");
    } else if (wanted == "thread") {
        server.make(1, 10, echo);
        server.start();
        target = server.thread;
    } else {
        target = must(node->create_event(), "event");
    }
    user.start();
    std::uint64_t rounds = 0;
    for (const std::uint64_t end = rdtsc() + 10'000 * ms(); rdtsc() < end; ++rounds) {
        if (wanted == "signal" || wanted == "wait") (void)signal(target, 1);
        EXPECT_STATUS(copy(target, user.domain, child_portal), Status::ok);
        for (unsigned i = 0; i < rounds % 64; ++i) asm volatile("pause");
        // On a busy machine the other core may never have its turn just then: now and then it is waited for.
        const std::uint64_t before = user.shared->words[0];
        for (const std::uint64_t limit = rdtsc() + 5000 * ms();
             rounds % 32 == 0 && user.shared->words[0] == before && rdtsc() < limit;) {
            if (wanted == "signal" || wanted == "wait") (void)signal(target, 1);
            asm volatile("pause");
        }
        EXPECT_STATUS(revoke(target), Status::ok);
    }
    say("{} rounds, {} good, {} refused\n", rounds, std::uint64_t{user.shared->words[0]},
        std::uint64_t{user.shared->words[1]});
    EXPECT(user.shared->words[0] != 0);
    EXPECT(user.shared->words[1] != 0);
    user.destroy();
    finish();
}

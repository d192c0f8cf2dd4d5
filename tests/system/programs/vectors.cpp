// Any vector and NMI, at any time, on any core: counted, and nothing else. A PCI device sends them: the
// message that it signals an interrupt with is whatever its driver wrote. Meanwhile both cores run calls,
// events and timers. See tests/system/vectors.py.
#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/edu.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;

Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }
std::uint64_t ms() { return node->info().tsc_khz; }

[[gnu::section(".text.child_echo"), gnu::aligned(4096)]] void echo(Shared*) {
    Received r = reply_wait({});
    for (;;) r = reply_wait(r.message);
}

// words[0]: calls that were answered as they should.
[[gnu::section(".text.child_caller"), gnu::aligned(4096)]] void caller(Shared* s) {
    for (std::uint64_t n = 1;; ++n) {
        Message m{n, {n + 1, n + 2}};
        if (call(child_portal, m) != Status::ok || m.label != n || m.words[1] != n + 2)
            __builtin_trap();
        s->words[0] = n;
    }
}

// A thread that calls and one that answers, on one core.
struct Pair {
    Child server{*node}, client{*node};
    Slot death;

    explicit Pair(unsigned core) : death{must(node->create_event(), "event")} {
        server.make(core, 20, echo);
        client.make(core, 20, caller);
        const Slot portal = node->new_slot();
        must(create_portal(portal, memory().slot, server.thread, init_slot::first_core + core),
             "portal");
        must(copy(portal, client.domain, child_portal, right::call), "portal");
        must(thread_ctl(client.thread, ThreadOp::set_death_event, death, 1), "event");
        must(thread_ctl(server.thread, ThreadOp::set_death_event, death, 2), "event");
        server.start();
        client.start();
    }
    std::uint64_t calls() const { return client.shared->words[0]; }
};

// Sends a message to the core with that local APIC id.
void send(Edu& device, std::uint64_t apic_id, std::uint32_t data) {
    device.program_message(0xfee00000 | apic_id << 12, data);
    device.send();
}

std::uint64_t apic_id(unsigned core) {
    raw::Registers r{init_slot::first_core + core, static_cast<std::uint64_t>(CoreOp::query)};
    must(raw::system_call(Syscall::core_ctl, r), "core");
    return r.rsi;
}
CoreEvents events(unsigned core) {
    return must(count_events(init_slot::first_core + core), "counts");
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    Edu device{*node};
    if (!device.find()) die("the device that sends", Status::not_found);
    Pair pairs[] = {Pair{0}, Pair{1}};
    const Slot alarm = must(node->create_event(), "event");
    constexpr std::uint32_t nmi = 4 << 8;
    for (unsigned core = 0; core < 2; ++core) {
        const std::uint64_t id = apic_id(core), calls = pairs[core].calls();
        unsigned sent = 0;
        for (unsigned round = 0; round < 8; ++round) {
            // The other threads of this core's priority get their turns while this one waits.
            EXPECT_STATUS(wait(alarm, rdtsc() + ms() * 5).status(), Status::timed_out);
            for (std::uint32_t vector = 16; vector < 256; ++vector) {
                send(device, id, vector);
                send(device, id, nmi | vector);
                ++sent;
            }
        }
        for (unsigned i = 0; i < 200 && pairs[core].calls() < calls + 1000; ++i)
            (void)wait(alarm, rdtsc() + ms() * 20);
        const CoreEvents e = events(core);
        say("core {}: {} messages of each kind, {} stray interrupts, {} NMIs, {} machine checks\n",
            core, sent, e.stray_interrupts, e.nmis, e.machine_checks);
        EXPECT(pairs[core].calls() >= calls + 1000);
        EXPECT(e.stray_interrupts != 0);
        EXPECT(e.nmis != 0);
        EXPECT(e.machine_checks == 0);
    }
    for (Pair& p : pairs) EXPECT_STATUS(wait(p.death, rdtsc() + ms()).status(), Status::timed_out);
    EXPECT_STATUS(wait(alarm, rdtsc() + ms() * 10).status(), Status::timed_out);
    finish();
}

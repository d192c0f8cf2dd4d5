// Every system call with good, bad and revoked capabilities, on one core.
#include "libipc/start.hpp"
#include "proto/exception.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;

Slot event() { return must(node->create_event(), "event"); }
Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }
Slot fresh() { return node->new_slot(); }

constexpr Slot empty = 3000;
constexpr Slot outside = 1 << 30;

void test_lookup() {
    Message m;
    EXPECT_STATUS(call(empty, m), Status::bad_capability);
    EXPECT_STATUS(call(outside, m), Status::bad_capability);
    EXPECT_STATUS(call(init_slot::domain, m), Status::wrong_type);
    EXPECT_STATUS(signal(empty, 1), Status::bad_capability);
    EXPECT_STATUS(signal(init_slot::thread, 1), Status::wrong_type);
    EXPECT_STATUS(wait(empty).status(), Status::bad_capability);
    EXPECT_STATUS(map(empty, init_slot::domain, 0x7000'0000, 0, page_size, 1),
                  Status::bad_capability);
    EXPECT_STATUS(revoke(outside), Status::bad_capability);
    EXPECT_STATUS(copy(empty, init_slot::domain, fresh()), Status::bad_capability);
    EXPECT_STATUS(portal_ctl(init_slot::domain, PortalOp::unbind), Status::wrong_type);
    EXPECT_STATUS(vcpu_ctl(init_slot::domain, VcpuOp::start), Status::wrong_type);
    EXPECT_STATUS(thread_ctl(init_slot::domain, ThreadOp::start), Status::wrong_type);
    EXPECT_STATUS(domain_ctl(init_slot::thread, DomainOp::set_name, 0), Status::wrong_type);
    EXPECT_STATUS(irq_ctl(init_slot::thread, IrqOp::unbind), Status::wrong_type);
    EXPECT_STATUS(query_memory(init_slot::thread).status(), Status::wrong_type);
    EXPECT_STATUS(count_interrupts(init_slot::thread).status(), Status::wrong_type);
    EXPECT_STATUS(raw::simple(static_cast<Syscall>(99), 0), Status::bad_syscall);
    EXPECT_STATUS(raw::simple(static_cast<Syscall>(~0ull), 0), Status::bad_syscall);
    EXPECT_STATUS(raw::simple(Syscall::thread_ctl, init_slot::thread, 77), Status::bad_syscall);
    EXPECT(count_interrupts(init_slot::first_core).status() == Status::ok);
}

void test_memory() {
    const Extent e = memory(16 * page_size);
    const Slot a = fresh(), b = fresh();
    EXPECT_STATUS(carve(a, e.slot, e.base, 4 * page_size), Status::ok);
    EXPECT_STATUS(carve(b, e.slot, e.base + 3 * page_size, page_size), Status::in_use);
    EXPECT_STATUS(carve(a, e.slot, e.base + 4 * page_size, page_size), Status::occupied);
    EXPECT_STATUS(carve(b, e.slot, e.base - page_size, page_size), Status::bad_argument);
    EXPECT_STATUS(carve(b, e.slot, e.base + 1, page_size), Status::bad_argument);
    EXPECT_STATUS(carve(b, e.slot, e.base + 15 * page_size, 2 * page_size), Status::bad_argument);
    EXPECT_STATUS(carve(b, e.slot, e.base + 4 * page_size, 0), Status::bad_argument);
    EXPECT_STATUS(carve(b, e.slot, e.base + 4 * page_size, 4 * page_size), Status::ok);
    // Carved: neither mapped nor used as storage.
    constexpr std::uint64_t at = 0x7000'0000;
    EXPECT_STATUS(map(e.slot, init_slot::domain, at, 0, page_size, map_right::read),
                  Status::in_use);
    EXPECT_STATUS(create(ObjectType::event, fresh(), e.slot), Status::in_use);
    // Mapped: no storage, no carving.
    EXPECT_STATUS(map(a, init_slot::domain, at, 0, page_size, map_right::read_write), Status::ok);
    auto* word = reinterpret_cast<volatile std::uint64_t*>(at);
    *word = 42;
    EXPECT(*word == 42);
    EXPECT_STATUS(create(ObjectType::event, fresh(), a), Status::in_use);
    EXPECT_STATUS(carve(fresh(), a, e.base, page_size), Status::in_use);
    EXPECT_STATUS(map(a, init_slot::domain, at, 0, page_size, map_right::read), Status::occupied);
    EXPECT_STATUS(map(a, init_slot::domain, at + page_size, 0, page_size,
                      map_right::write | map_right::execute | 1),
                  Status::bad_argument);
    EXPECT_STATUS(map(a, init_slot::domain, at + page_size, 0, 8 * page_size, 1),
                  Status::bad_argument);
    EXPECT_STATUS(map(a, init_slot::domain, 0, 0, page_size, 1), Status::bad_argument);
    EXPECT_STATUS(map(a, init_slot::domain, user_end, 0, page_size, 1), Status::bad_argument);
    EXPECT_STATUS(map(a, init_slot::domain, 0xffff'8000'0000'0000, 0, page_size, 1),
                  Status::bad_argument);
    EXPECT_STATUS(map(a, init_slot::thread, at, 0, page_size, 1), Status::wrong_type);
    EXPECT_STATUS(map(init_slot::ports, init_slot::domain, at + page_size, 0, 1, 1),
                  Status::bad_argument);
    // Storage: one object, no mapping; free again after the revocation.
    const Slot object = fresh();
    EXPECT_STATUS(create(ObjectType::event, object, b), Status::ok);
    EXPECT_STATUS(create(ObjectType::event, fresh(), b), Status::in_use);
    EXPECT_STATUS(map(b, init_slot::domain, at + page_size, 0, page_size, 1), Status::in_use);
    EXPECT_STATUS(revoke(b), Status::ok);
    EXPECT_STATUS(signal(object, 1), Status::bad_capability);
    EXPECT_STATUS(create(ObjectType::event, object, b), Status::ok);
    // Rights only shrink.
    const Slot read_only = fresh(), again = fresh();
    EXPECT_STATUS(copy(a, init_slot::domain, read_only, right::read), Status::ok);
    EXPECT_STATUS(
        map(read_only, init_slot::domain, at + page_size, 0, page_size, map_right::read_write),
        Status::no_right);
    EXPECT_STATUS(copy(read_only, init_slot::domain, again, right::all), Status::ok);
    EXPECT_STATUS(
        map(again, init_slot::domain, at + page_size, 0, page_size, map_right::read_write),
        Status::no_right);
    EXPECT_STATUS(create(ObjectType::event, fresh(), again), Status::no_right);
    EXPECT_STATUS(map(again, init_slot::domain, at + page_size, 0, page_size, map_right::read),
                  Status::ok);
    // Everything at once.
    EXPECT_STATUS(revoke(e.slot), Status::ok);
    EXPECT_STATUS(query_memory(a).status(), Status::bad_capability);
    EXPECT_STATUS(query_memory(again).status(), Status::bad_capability);
    EXPECT_STATUS(map(e.slot, init_slot::domain, at, 0, page_size, map_right::read), Status::ok);
    EXPECT_STATUS(revoke(e.slot, revoke_flag::self), Status::ok);
    EXPECT_STATUS(query_memory(e.slot).status(), Status::bad_capability);
    EXPECT_STATUS(revoke(memory().slot, 7), Status::bad_argument);
}

void test_exhaustion() {
    // A domain with no page-table pool, too few mapping records, too little storage.
    const Extent small = memory(4 * page_size);
    const Slot domain = fresh();
    EXPECT_STATUS(create(ObjectType::domain, domain, small.slot, 1 << 16, 16), Status::no_memory);
    EXPECT_STATUS(create(ObjectType::domain, domain, small.slot, 0, 16), Status::bad_argument);
    EXPECT_STATUS(create(ObjectType::domain, domain, small.slot, 16, 1), Status::ok);
    const Extent data = memory();
    EXPECT_STATUS(map(data.slot, domain, 0x400000, 0, page_size, 1), Status::no_memory);
    EXPECT_STATUS(revoke(small.slot), Status::ok);
    const Extent larger = memory(10 * page_size);
    EXPECT_STATUS(create(ObjectType::domain, domain, larger.slot, 16, 1), Status::ok);
    EXPECT_STATUS(map(data.slot, domain, 0x400000, 0, page_size, 1), Status::ok);
    EXPECT_STATUS(map(data.slot, domain, 0x401000, 0, page_size, 1), Status::no_memory);
    EXPECT_STATUS(revoke(data.slot), Status::ok);
    EXPECT_STATUS(map(data.slot, domain, 0x401000, 0, page_size, 1), Status::ok);
    EXPECT_STATUS(create(ObjectType::thread, fresh(), memory().slot, domain,
                         raw::pair(init_slot::first_core, 64)),
                  Status::bad_argument);
    EXPECT_STATUS(create(ObjectType::vcpu, fresh(), memory().slot, domain), Status::wrong_type);
    EXPECT_STATUS(create(ObjectType::space, fresh(), memory().slot, 8), Status::no_memory);
    EXPECT_STATUS(create(ObjectType::core, fresh(), memory().slot), Status::wrong_type);
    EXPECT_STATUS(create(ObjectType::irq, fresh(), memory().slot, init_slot::irq_control, 4000),
                  Status::bad_argument);
    EXPECT_STATUS(create(ObjectType::irq, fresh(), memory().slot, init_slot::domain, 4),
                  Status::wrong_type);
    // A chain of copies ends at the depth limit, with an error, and goes away as a whole.
    const Extent e = memory();
    Slot last = e.slot;
    unsigned depth = 0;
    for (;; ++depth) {
        const Slot next = fresh();
        const Status s = copy(last, init_slot::domain, next);
        if (s != Status::ok) {
            EXPECT(s == Status::too_deep);
            break;
        }
        last = next;
    }
    EXPECT(depth > 10 && depth <= max_derivation_depth);
    EXPECT_STATUS(revoke(e.slot), Status::ok);
    EXPECT_STATUS(query_memory(last).status(), Status::bad_capability);
}

void test_events() {
    const Slot e = event();
    EXPECT_STATUS(signal(e, 0), Status::bad_argument);
    EXPECT_STATUS(wait(e, 0).status(), Status::timed_out);
    EXPECT_STATUS(signal(e, 5), Status::ok);
    EXPECT_STATUS(signal(e, 8), Status::ok);
    const Result<std::uint64_t> bits = wait(e);
    EXPECT(bits && *bits == 13);
    const std::uint64_t begin = rdtsc();
    const std::uint64_t ms = node->info().tsc_khz;
    EXPECT_STATUS(wait(e, begin + 3 * ms).status(), Status::timed_out);
    EXPECT(rdtsc() - begin >= 3 * ms);
    // A copy with a mask signals only its bits; one without the right waits for nothing.
    const Slot masked = fresh(), silent = fresh();
    EXPECT_STATUS(copy(e, init_slot::domain, masked, right::signal, 6), Status::ok);
    EXPECT_STATUS(signal(masked, 1), Status::bad_argument);
    EXPECT_STATUS(signal(masked, 7), Status::ok);
    EXPECT(*wait(e) == 6);
    EXPECT_STATUS(wait(masked, 0).status(), Status::no_right);
    EXPECT_STATUS(copy(e, init_slot::domain, silent, right::wait), Status::ok);
    EXPECT_STATUS(signal(silent, 1), Status::no_right);
    EXPECT_STATUS(copy(e, init_slot::domain, masked), Status::occupied);
    EXPECT_STATUS(revoke(masked, revoke_flag::self), Status::ok);
    EXPECT_STATUS(signal(masked, 2), Status::bad_capability);
    EXPECT_STATUS(signal(e, 2), Status::ok);
}

// Children. They may use only their argument and system calls.

[[gnu::section(".text.child_echo"), gnu::aligned(4096)]] void echo(Shared*) {
    Received r = reply_wait({});
    for (;;) {
        Message m = r.message;
        m.words[0] += 1;
        m.words[1] = r.badge;
        r = reply_wait(m);
    }
}

[[gnu::section(".text.child_fault"), gnu::aligned(4096)]] void fault(Shared* s) {
    Received r = reply_wait({});
    s->words[0] = r.message.words[0];
    *reinterpret_cast<volatile std::uint64_t*>(0x10) = 1;
    (void)reply_wait({});
}

[[gnu::section(".text.child_count"), gnu::aligned(4096)]] void count_up(Shared* s) {
    for (;;) s->words[0] = s->words[0] + 1;
}

[[gnu::section(".text.child_waiter"), gnu::aligned(4096)]] void waiter(Shared* s) {
    for (;;) {
        const Result<std::uint64_t> bits = wait(child_event);
        s->words[1] = static_cast<std::uint64_t>(bits.status());
        s->words[0] = s->words[0] + 1;
        if (!bits) __builtin_trap();
    }
}

Slot portal_for(const Child& child) {
    const Slot portal = fresh();
    must(create_portal(portal, memory().slot, child.thread, init_slot::first_core), "portal");
    return portal;
}

void test_ipc() {
    Child server{*node};
    server.make(0, 32, echo);
    const Slot portal = portal_for(server);
    server.start();
    Message m{7, {1, 2, 3, 4, 5, 6}};
    EXPECT_STATUS(call(portal, m), Status::ok);
    EXPECT(m.label == 7 && m.words[0] == 2 && m.words[1] == 0 && m.words[2] == 3 &&
           m.words[5] == 6);
    const Slot badged = fresh();
    EXPECT_STATUS(copy(portal, init_slot::domain, badged, right::call, 99), Status::ok);
    m = {1, {10}};
    EXPECT_STATUS(call(badged, m), Status::ok);
    EXPECT(m.words[0] == 11 && m.words[1] == 99);
    EXPECT_STATUS(copy(badged, init_slot::domain, fresh(), right::call, 98), Status::bad_argument);
    EXPECT_STATUS(portal_ctl(badged, PortalOp::unbind), Status::no_right);
    const Slot dumb = fresh();
    EXPECT_STATUS(copy(portal, init_slot::domain, dumb, right::bind), Status::ok);
    EXPECT_STATUS(call(dumb, m), Status::no_right);
    EXPECT_STATUS(revoke(portal), Status::ok);
    EXPECT_STATUS(call(badged, m), Status::bad_capability);
    m = {1, {20}};
    EXPECT_STATUS(call(portal, m), Status::ok);
    EXPECT(m.words[0] == 21);
    server.destroy();
    EXPECT_STATUS(thread_ctl(server.thread, ThreadOp::start), Status::bad_capability);
}

void test_fault() {
    Child server{*node};
    server.make(0, 32, fault);
    const Slot death = event();
    EXPECT_STATUS(thread_ctl(server.thread, ThreadOp::set_death_event, death, 4), Status::ok);
    EXPECT_STATUS(domain_ctl(server.domain, DomainOp::set_name, 0x746c756166 /* fault */),
                  Status::ok);
    const Slot portal = portal_for(server);
    server.start();
    Message m{1, {77}};
    EXPECT_STATUS(call(portal, m), Status::dead_partner);
    EXPECT(server.shared->words[0] == 77);
    EXPECT(*wait(death) == 4);
    EXPECT(*read_register(server.thread, ThreadRegister::fault_vector) == 14);
    EXPECT(*read_register(server.thread, ThreadRegister::fault_address) == 0x10);
    EXPECT_STATUS(thread_ctl(server.thread, ThreadOp::start), Status::dead_partner);
    // The portal waits for another handler: bound to a new thread, it serves again.
    Child second{*node};
    second.make(0, 32, echo);
    second.start();
    EXPECT_STATUS(portal_ctl(portal, PortalOp::bind, second.thread), Status::ok);
    yield();
    m = {1, {5}};
    EXPECT_STATUS(call(portal, m), Status::ok);
    EXPECT(m.words[0] == 6);
    EXPECT_STATUS(portal_ctl(portal, PortalOp::bind, server.thread), Status::dead_partner);
    server.destroy();
    second.destroy();
}

// Whoever is signalled reports it: the kernel prints nothing (the test's run looks for the name).
void test_quiet_fault() {
    Child server{*node};
    server.make(0, 32, fault);
    const Slot death = event();
    EXPECT_STATUS(thread_ctl(server.thread, ThreadOp::set_death_event, death, 4, 2),
                  Status::bad_argument);
    EXPECT(*read_register(server.thread, ThreadRegister::fault_vector) == no_fault);
    EXPECT_STATUS(thread_ctl(server.thread, ThreadOp::set_death_event, death, 4, death_flag::quiet),
                  Status::ok);
    EXPECT_STATUS(domain_ctl(server.domain, DomainOp::set_name, 0x68737568 /* hush */), Status::ok);
    const Slot portal = portal_for(server);
    server.start();
    Message m{1, {77}};
    EXPECT_STATUS(call(portal, m), Status::dead_partner);
    EXPECT(*wait(death) == 4);
    EXPECT(*read_register(server.thread, ThreadRegister::fault_vector) == 14);
    server.destroy();
}

void test_priorities() {
    // Lower never runs while we do; equal shares by time; higher preempts at once.
    Child low{*node}, equal{*node}, high{*node};
    low.make(0, 31, count_up);
    equal.make(0, 32, count_up);
    high.make(0, 33, waiter);
    const Slot e = event();
    must(copy(e, high.domain, child_event, right::wait), "child event");
    high.start();
    EXPECT(high.shared->words[0] == 0);
    EXPECT_STATUS(signal(e, 1), Status::ok);
    EXPECT(high.shared->words[0] == 1);
    low.start();
    const std::uint64_t ms = node->info().tsc_khz;
    for (const std::uint64_t end = rdtsc() + 30 * ms; rdtsc() < end;) {}
    EXPECT(low.shared->words[0] == 0);
    equal.start();
    for (const std::uint64_t end = rdtsc() + 60 * ms; rdtsc() < end;) {}
    EXPECT(equal.shared->words[0] > 0);
    EXPECT(low.shared->words[0] == 0);
    EXPECT_STATUS(thread_ctl(equal.thread, ThreadOp::suspend), Status::ok);
    const std::uint64_t stopped = equal.shared->words[0];
    const Slot nothing = event();
    EXPECT_STATUS(wait(nothing, rdtsc() + 20 * ms).status(), Status::timed_out);
    EXPECT(equal.shared->words[0] == stopped);
    EXPECT(low.shared->words[0] > 0);
    // Revoking the event wakes the waiter with an error: it traps, and that is its end alone.
    EXPECT_STATUS(revoke(e, revoke_flag::self), Status::ok);
    yield();
    EXPECT(high.shared->words[1] == static_cast<std::uint64_t>(Status::bad_capability));
    low.destroy();
    equal.destroy();
    high.destroy();
}

void test_irq() {
    // The 8254's line has a source; COM1's output interrupt tells that interrupts arrive.
    const Slot irq = fresh(), e = event();
    EXPECT_STATUS(create(ObjectType::irq, irq, memory().slot, init_slot::irq_control, 4),
                  Status::ok);
    EXPECT_STATUS(create(ObjectType::irq, fresh(), memory().slot, init_slot::irq_control, 4),
                  Status::in_use);
    EXPECT_STATUS(irq_ctl(irq, IrqOp::bind, e, 0), Status::bad_argument);
    EXPECT_STATUS(irq_ctl(irq, IrqOp::bind, e, 2), Status::ok);
    (void)port_write(init_slot::ports, 0x3fc, 1, 0x0b);
    (void)port_write(init_slot::ports, 0x3f9, 1, 2);  // transmitter empty
    const Result<std::uint64_t> bits = wait(e, rdtsc() + node->info().tsc_khz * 500);
    EXPECT(bits && *bits == 2);
    (void)port_write(init_slot::ports, 0x3f9, 1, 0);
    EXPECT_STATUS(irq_ctl(irq, IrqOp::unbind), Status::ok);
    // Ports: only those of the capability.
    const Slot ports = fresh();
    EXPECT_STATUS(carve(ports, init_slot::ports, 0x70, 2), Status::ok);
    EXPECT_STATUS(port_write(ports, 0x72, 1, 0), Status::bad_argument);
    EXPECT_STATUS(port_write(ports, 0x71, 2, 0), Status::bad_argument);
    EXPECT_STATUS(port_write(ports, 0x70, 3, 0), Status::bad_argument);
    EXPECT_STATUS(port_write(ports, 0x70, 1, 0x0a), Status::ok);
    EXPECT_STATUS(port_fill(ports, 0x72, {}, 1), Status::bad_argument);
    EXPECT_STATUS(port_fill(ports, 0x70, {}, port_burst + 1), Status::bad_argument);
    // COM1's scratch register as a FIFO that is never empty, whose status is itself.
    const Slot uart = fresh();
    EXPECT_STATUS(carve(uart, init_slot::ports, 0x3f8, 8), Status::ok);
    EXPECT_STATUS(port_fill(uart, 0x3ff, {0x5a3130}, 3), Status::ok);
    EXPECT(port_drain(uart, 0x3ff, 0x3ff, 0x80).count == 0);
    const PortBytes three = port_drain(uart, 0x3ff, 0x3ff, 0x50, 3);
    EXPECT(three.count == 3 && three.bytes[0] == 0x5a5a5a);
    const PortBytes all = port_drain(uart, 0x3ff, 0x3ff, 0x50);
    EXPECT(all.count == port_burst && all.bytes[1] == 0x5a5a'5a5a'5a5a'5a5a);
    EXPECT(port_drain(uart, 0x400, 0x3ff, 0x50).count == 0);
    EXPECT(port_drain(uart, 0x3ff, 0x3f7, 0xff).count == 0);
    EXPECT(port_drain(uart, 0x3ff, 0x3ff, 0x50, port_burst + 1).count == 0);
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    test_lookup();
    test_memory();
    test_exhaustion();
    test_events();
    test_ipc();
    test_fault();
    test_quiet_fault();
    test_priorities();
    test_irq();
    finish();
}

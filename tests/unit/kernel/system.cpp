#include "system.hpp"

#include <cstring>
#include <new>

#include "guest.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

void place(Domain& d, Slot number, ObjectType type, void* object) {
    CapSlot& s = *new (&d.slots[number]) CapSlot{};
    s.domain = &d;
    s.object = object;
    s.rights = right::all;
    s.is_copy = true;
    s.type = type;
}

void place_memory(Domain& d, Slot number, MemoryType type, std::uint64_t base, std::uint64_t size,
                  std::uint8_t rights) {
    CapSlot& s = *new (&d.slots[number]) CapSlot{};
    s.domain = &d;
    s.base = base;
    s.size = size;
    s.memory = type;
    s.rights = rights;
    s.type = ObjectType::memory;
}

void load(Thread& t, Syscall number, std::initializer_list<std::uint64_t> arguments) {
    constexpr unsigned registers[] = {gpr_rdi, gpr_rsi, gpr_rdx, gpr_r8,
                                      gpr_r9,  gpr_r10, gpr_r12, gpr_r13};
    t.gpr[gpr_rax] = static_cast<std::uint64_t>(number);
    unsigned i = 0;
    for (const unsigned r : registers)
        t.gpr[r] = i < arguments.size() ? arguments.begin()[i] : 0, ++i;
    t.full_frame = 0;
    t.rip = 0x401002;
}

}  // namespace

System::System() {
    machine::reset();
    const std::uint64_t bytes = domain_overhead + align_up(first::slots * slot_bytes, page_size) +
                                align_up(first::mappings * mapping_bytes, page_size) +
                                first::pool_pages * page_size;
    const HostPhys at = machine::take_ram(bytes);
    std::memset(direct<void>(at), 0, Domain::zeroed_bytes(first::slots));
    const Result<Domain*> made = Domain::create(at, bytes, first::slots, first::mappings);
    domain = made.value();
    Core& core = machine::core(0);
    boot = new (direct<void>(machine::take_ram(page_size)))
        Thread{*domain, core, 63, 0x401000, 0x7000, 0};
    storage = machine::take_ram(storage_bytes);
    next_ = storage.value();
    place(*domain, first::domain, ObjectType::domain, domain);
    place(*domain, first::thread, ObjectType::thread, boot);
    place(*domain, first::irq_control, ObjectType::irq_control, nullptr);
    place(*domain, first::core0, ObjectType::core, nullptr);
    place(*domain, first::core1, ObjectType::core, reinterpret_cast<void*>(std::uint64_t{1}));
    place(*domain, first::core2, ObjectType::core, reinterpret_cast<void*>(std::uint64_t{2}));
    place_memory(*domain, first::ports, MemoryType::ports, 0, 0x10000, right::all);
    place_memory(*domain, first::ram, MemoryType::ram, storage.value(), storage_bytes, right::all);
    place_memory(*domain, first::big, MemoryType::ram, big_base, big_size,
                 right::read | right::write | right::execute);
    place_memory(*domain, first::device, MemoryType::device, device_base, device_size, right::all);
}

Context* System::trap(Thread& t, Syscall number, std::initializer_list<std::uint64_t> arguments) {
    machine::switch_to(t.core->id);
    EXPECT_EQ(t.core->current, &t) << "only who runs can call";
    load(t, number, arguments);
    return machine::run([&t] { machine::enter_kernel(t); });
}

bool System::step(Syscall number, std::initializer_list<std::uint64_t> arguments) {
    call(*boot, number, arguments, 1);
    return boot->rip == 0x401002;
}

Status System::call(Thread& t, Syscall number, std::initializer_list<std::uint64_t> arguments,
                    unsigned entries) {
    Core& core = *t.core;
    machine::switch_to(core.id);
    const bool was_current = core.current == &t;
    if (!was_current) {
        if (Context* c = core.current) {
            c->on = core.budget;
            core.budget->resume = c;
            if (core.quantum_end != no_deadline) core.budget->turn_end = core.quantum_end;
            core.ready.push_front(*core.budget);
        }
        core.current = &t;
        core.budget = &t.own;
        t.state = ContextState::ready;
    }
    for (unsigned n = 0; n < entries; ++n) {
        trap(t, number, arguments);
        if (t.rip == 0x401002 || t.state == ContextState::dead) break;
    }
    if (!was_current && t.state == ContextState::ready) {
        if (core.current == &t) {
            core.current = nullptr;
            core.budget = nullptr;
        } else {
            core.ready.remove(*t.on);
        }
        t.state = ContextState::stopped;
    }
    machine::switch_to(0);
    return status_of(t);
}

Context* System::leave(unsigned core) {
    machine::switch_to(core);
    return machine::run([] { scheduler::leave(); });
}

void System::carve(Slot destination, std::uint64_t bytes, std::uint64_t flags) {
    const std::uint64_t size = align_up(bytes, page_size);
    ASSERT_EQ(call(Syscall::create, {pair(3, destination), first::ram, next_, size, flags}),
              Status::ok);
    next_ += size;
}

void System::make(ObjectType type, Slot slot, std::uint64_t bytes,
                  std::initializer_list<std::uint64_t> a) {
    carve(slot + 1, bytes);
    const auto at = [&a](std::size_t i) { return i < a.size() ? a.begin()[i] : 0; };
    ASSERT_EQ(call(Syscall::create, {pair(static_cast<std::uint64_t>(type), slot), slot + 1, at(0),
                                     at(1), at(2), at(3), at(4)}),
              Status::ok);
}

}  // namespace margay

margay::Context* margay::System::exit_guest(Vcpu& v, ExitClass exit_class, std::uint64_t detail0,
                                            std::uint64_t detail1) {
    machine::switch_to(v.core->id);
    EXPECT_EQ(v.core->current, &v) << "only a guest that runs can exit";
    return machine::run([&] { machine::exit(v, exit_class, detail0, detail1); });
}

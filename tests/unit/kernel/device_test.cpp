// Devices, DMA spaces and interrupt messages, against a model of an IOMMU that remembers what it was not told to forget.
#include "iommu_model.hpp"
#include "system.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/object/device.hpp"
#include "ukernel/object/dma_space.hpp"
#include "ukernel/object/irq.hpp"

namespace margay {
namespace {

constexpr std::uint64_t rw = map_right::read_write, kib4 = 4096;
constexpr Slot device_control = 39, space = 60, device = 64, event = 70, irq = 72, page = 76;
constexpr unsigned function = 0x18;
constexpr std::uint64_t space_bytes = 16 * kib4, at = 0x1234'5000;

struct Kind {
    iommu_model::Entries entries;
    unsigned levels;
};

class Devices : public testing::TestWithParam<Kind> {
  protected:
    void SetUp() override {
        iommu_model::reset(true, GetParam().entries, GetParam().levels);
        CapSlot& c = s.domain->slots[device_control];
        c.domain = s.domain;
        c.rights = right::all;
        c.is_copy = true;
        c.type = ObjectType::device_control;
    }
    void claim() {
        s.make(ObjectType::dma_space, space, space_bytes, {16});
        s.make(ObjectType::device, device, storage_device, {device_control, function});
        s.carve(page, kib4);
    }
    Status map_page(std::uint64_t address = at, std::uint64_t rights = rw) {
        return s.call(Syscall::map, {pair(page, space), address, 0, kib4, rights});
    }
    Status attach(Slot to = space) {
        return s.call(Syscall::device_ctl,
                      {device, static_cast<std::uint64_t>(DeviceOp::attach), to});
    }
    Status detach() {
        return s.call(Syscall::device_ctl, {device, static_cast<std::uint64_t>(DeviceOp::detach)});
    }
    std::uint64_t page_at() const { return s.domain->slots[page].base; }
    bool reaches(std::uint64_t address = at, bool writes = true) {
        const auto to = iommu_model::reach(function, address, writes);
        return to && to->value() == page_at() + (address & 4095);
    }

    System s;
};

TEST_P(Devices, OneReachesWhatItsSpaceMaps) {
    claim();
    ASSERT_EQ(map_page(), Status::ok);
    EXPECT_FALSE(reaches()) << "not attached";
    ASSERT_EQ(attach(), Status::ok);
    EXPECT_TRUE(reaches());
    EXPECT_TRUE(reaches(at + 0xff0));
    EXPECT_FALSE(iommu_model::reach(function, at + kib4, false));
    EXPECT_FALSE(iommu_model::reach(function, page_at(), false)) << "its physical address";
    EXPECT_FALSE(iommu_model::reach(function + 1, at, false)) << "another function";
    EXPECT_EQ(attach(), Status::in_use);
    ASSERT_EQ(detach(), Status::ok);
    EXPECT_FALSE(reaches());
    EXPECT_EQ(detach(), Status::ok) << "already";
    ASSERT_EQ(attach(), Status::ok);
    EXPECT_TRUE(reaches());
}

TEST_P(Devices, ReadOnlyIsReadOnly) {
    claim();
    ASSERT_EQ(map_page(at, map_right::read), Status::ok);
    ASSERT_EQ(attach(), Status::ok);
    EXPECT_TRUE(reaches(at, false));
    EXPECT_FALSE(reaches(at, true));
    EXPECT_EQ(map_page(at + kib4, map_right::write), Status::bad_argument);
    EXPECT_EQ(map_page(at + kib4, rw | map_right::execute), Status::bad_argument);
}

// What the IOMMU remembers is forgotten before the extent is anybody else's.
TEST_P(Devices, RevokedMemoryIsOutOfReach) {
    claim();
    ASSERT_EQ(map_page(), Status::ok);
    ASSERT_EQ(attach(), Status::ok);
    ASSERT_TRUE(reaches());
    ASSERT_EQ(s.call(Syscall::revoke, {page, revoke_flag::descendants}), Status::ok);
    EXPECT_FALSE(reaches());
    // Large leaves, and another space of another device: each is told.
    const auto leaf = [&](Slot target, std::uint64_t address, std::uint64_t offset) {
        return s.call(Syscall::map, {pair(first::big, target), address, offset, 1ull << 30, rw});
    };
    s.make(ObjectType::dma_space, space + 20, space_bytes, {16});
    s.make(ObjectType::device, space + 22, storage_device, {device_control, function + 1});
    ASSERT_EQ(s.call(Syscall::device_ctl,
                     {space + 22, static_cast<std::uint64_t>(DeviceOp::attach), space + 20}),
              Status::ok);
    ASSERT_EQ(leaf(space, 1ull << 32, 1ull << 30), Status::ok);
    ASSERT_EQ(leaf(space + 20, 1ull << 33, 1ull << 31), Status::ok);
    EXPECT_EQ(iommu_model::reach(function, (1ull << 32) + 0x12345678, true)->value(),
              big_base + (1ull << 30) + 0x12345678);
    EXPECT_EQ(iommu_model::reach(function + 1, (1ull << 33) + 5, true)->value(),
              big_base + (1ull << 31) + 5);
    ASSERT_EQ(s.call(Syscall::revoke, {first::big, revoke_flag::descendants}), Status::ok);
    EXPECT_FALSE(iommu_model::reach(function, (1ull << 32) + 0x12345678, true));
    EXPECT_FALSE(iommu_model::reach(function + 1, (1ull << 33) + 5, true));
}

// A mapping that fails half-way leaves nothing, in the tables or in what was remembered of them.
TEST_P(Devices, FailedMapping) {
    claim();
    ASSERT_EQ(attach(), Status::ok);
    ASSERT_EQ(map_page(at + kib4), Status::ok);
    const auto two = [&] {
        return s.call(Syscall::map, {pair(first::big, space), at, 0, 2 * kib4, rw});
    };
    EXPECT_EQ(two(), Status::occupied);
    EXPECT_FALSE(iommu_model::reach(function, at, false));
    EXPECT_TRUE(reaches(at + kib4));
}

TEST_P(Devices, Refusals) {
    s.carve(page, kib4);
    s.carve(page + 1, storage_device);
    const auto make = [&](std::uint64_t authority, std::uint64_t requester, Slot storage) {
        return s.call(Syscall::create,
                      {pair(static_cast<std::uint64_t>(ObjectType::device), device), storage,
                       authority, requester});
    };
    EXPECT_EQ(make(first::irq_control, function, page + 1), Status::wrong_type);
    EXPECT_EQ(make(device_control, 0x20000, page + 1), Status::bad_argument);
    EXPECT_EQ(make(device_control, function, page), Status::no_memory);
    EXPECT_EQ(make(device_control, 4, page + 1), Status::not_supported) << "not behind one";
    EXPECT_EQ(make(device_control, 0x20, page + 1), Status::in_use) << "firmware's";
    ASSERT_EQ(make(device_control, function, page + 1), Status::ok);
    s.carve(page + 2, storage_device);
    EXPECT_EQ(
        s.call(Syscall::create, {pair(static_cast<std::uint64_t>(ObjectType::device), device + 1),
                                 page + 2, device_control, function}),
        Status::in_use);
    s.make(ObjectType::dma_space, space, space_bytes, {16});
    EXPECT_EQ(attach(device), Status::wrong_type);
    EXPECT_EQ(attach(55), Status::bad_capability);
    EXPECT_EQ(s.call(Syscall::device_ctl, {device, 9}), Status::bad_syscall);
    EXPECT_EQ(s.call(Syscall::device_ctl, {space, 0, space}), Status::wrong_type);
    const auto map_at = [&](Slot memory, std::uint64_t address) {
        return s.call(Syscall::map, {pair(memory, space), address, 0, kib4, rw});
    };
    EXPECT_EQ(map_at(first::device, at), Status::bad_argument) << "no device reaches another";
    EXPECT_EQ(map_at(first::ports, at), Status::bad_argument);
    EXPECT_EQ(map_at(page, 0xfee0'0000), Status::bad_argument) << "messages";
    EXPECT_EQ(map_at(page, 0xfeef'f000), Status::bad_argument);
    const std::uint64_t end = iommu::dma_format().end;
    EXPECT_EQ(map_at(page, end), Status::bad_argument);
    EXPECT_EQ(map_at(page, guest_end), Status::bad_argument);
    EXPECT_EQ(map_at(page, 0), Status::ok);
    EXPECT_EQ(map_at(page, end - kib4), Status::ok);
}

TEST_P(Devices, WithoutAnIommuThereIsNeither) {
    iommu_model::reset(false);
    s.carve(page, space_bytes);
    EXPECT_EQ(s.call(Syscall::create,
                     {pair(static_cast<std::uint64_t>(ObjectType::dma_space), space), page, 16}),
              Status::not_supported);
    EXPECT_EQ(s.call(Syscall::create, {pair(static_cast<std::uint64_t>(ObjectType::device), device),
                                       page, device_control, function}),
              Status::not_supported);
}

// Whichever of them goes first.
TEST_P(Devices, EachCanGo) {
    for (const Slot gone : {space, device}) {
        claim();
        ASSERT_EQ(map_page(), Status::ok);
        ASSERT_EQ(attach(), Status::ok);
        ASSERT_TRUE(reaches());
        ASSERT_EQ(s.call(Syscall::revoke, {gone, revoke_flag::self}), Status::ok);
        EXPECT_FALSE(reaches());
        EXPECT_EQ(attach(), Status::bad_capability);
        for (const Slot slot : {space, device, page})
            if (slot != gone) {
                ASSERT_EQ(s.call(Syscall::revoke, {slot, revoke_flag::self}), Status::ok);
            }
        for (const Slot storage : {space + 1, device + 1})
            ASSERT_EQ(s.call(Syscall::revoke, {storage, revoke_flag::self}), Status::ok);
        EXPECT_EQ(iommu_model::domains(), 0u);
    }
    // Their storage goes, and they with it.
    claim();
    ASSERT_EQ(attach(), Status::ok);
    ASSERT_EQ(s.call(Syscall::revoke, {space + 1, revoke_flag::descendants}), Status::ok);
    ASSERT_EQ(s.call(Syscall::revoke, {device + 1, revoke_flag::descendants}), Status::ok);
    EXPECT_EQ(iommu_model::domains(), 0u);
    EXPECT_FALSE(iommu_model::message(function, 0));
}

constexpr Kind kinds[] = {{iommu_model::Entries::amd_vi, 4},
                          {iommu_model::Entries::vtd, 4},
                          {iommu_model::Entries::vtd, 3}};
std::string name_of(const testing::TestParamInfo<Kind>& info) {
    return (info.param.entries == iommu_model::Entries::vtd ? "vtd" : "amd_vi") +
           std::to_string(info.param.levels);
}
INSTANTIATE_TEST_SUITE_P(, Devices, testing::ValuesIn(kinds), name_of);

class Messages : public Devices {
  protected:
    static constexpr unsigned index = 5;

    void SetUp() override {
        Devices::SetUp();
        claim();
        s.make(ObjectType::event, event, kib4);
        s.make(ObjectType::irq, irq, kib4, {device, index, first::core1});
    }
    Status bind() {
        return s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::bind), event, 4});
    }
    std::uint64_t bits() { return s.object<Event>(event).bits.load(); }
    // As the device sends it and the local APIC of that core takes it.
    void send(unsigned which = index) {
        const auto raised = iommu_model::message(function, which);
        if (!raised) return;
        EXPECT_EQ(raised->apic_id, machine::core(1).apic_id);
        machine::switch_to(1);
        Irq::fire_message(raised->vector);
        machine::switch_to(0);
    }
};

INSTANTIATE_TEST_SUITE_P(, Messages, testing::ValuesIn(kinds), name_of);

TEST_P(Messages, OneSignalsItsEvent) {
    send();
    EXPECT_EQ(bits(), 0u) << "not bound";
    ASSERT_EQ(bind(), Status::ok);
    send(index + 1);
    EXPECT_EQ(bits(), 0u);
    send();
    EXPECT_EQ(bits(), 4u);
    s.object<Event>(event).take();
    ASSERT_EQ(s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::unbind)}),
              Status::ok);
    send();
    EXPECT_EQ(bits(), 0u);
    ASSERT_EQ(s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::query)}),
              Status::ok);
    EXPECT_EQ(s.boot->gpr[gpr_rdi], 0xfee00000u);
    EXPECT_EQ(s.boot->gpr[gpr_rsi], index);
}

// Without a table of interrupts its messages are the processor's own.
TEST_P(Devices, InterruptsThatNobodyConfines) {
    iommu_model::pass_messages();
    s.carve(page, storage_device);
    const auto make = [&](std::uint64_t what) {
        return s.call(Syscall::create,
                      {pair(static_cast<std::uint64_t>(ObjectType::device), device), page,
                       device_control, what});
    };
    EXPECT_EQ(make(function), Status::not_supported);
    EXPECT_EQ(make(function | device_flag::may_raise_any << 1), Status::bad_argument);
    EXPECT_EQ(make(0x20 | device_flag::may_raise_any), Status::in_use) << "firmware's";
    ASSERT_EQ(make(function | device_flag::may_raise_any), Status::ok);
    s.make(ObjectType::event, event, kib4);
    s.make(ObjectType::irq, irq, kib4, {device, 5, first::core1});
    ASSERT_EQ(s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::query)}),
              Status::ok);
    EXPECT_EQ(s.boot->gpr[gpr_rdi], 0xfee0'0000u | machine::core(1).apic_id << 12);
    const std::uint64_t vector = s.boot->gpr[gpr_rsi];
    const auto fire = [&] {
        machine::switch_to(1);
        Irq::fire_message(static_cast<unsigned>(vector));
        machine::switch_to(0);
    };
    const std::uint64_t strays = machine::core(1).stray_interrupts;
    fire();
    EXPECT_EQ(machine::core(1).stray_interrupts, strays + 1) << "not bound";
    ASSERT_EQ(s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::bind), event, 4}),
              Status::ok);
    fire();
    EXPECT_EQ(s.object<Event>(event).take(), 4u);
    ASSERT_EQ(s.call(Syscall::revoke, {device, revoke_flag::self}), Status::ok);
    fire();
    EXPECT_EQ(s.object<Event>(event).take(), 0u);
    EXPECT_EQ(machine::core(1).stray_interrupts, strays + 2) << "the node counts it";
    EXPECT_EQ(iommu_model::messages(), 0u);
}

TEST_P(Messages, Refusals) {
    s.carve(80, kib4);
    const auto make = [&](std::uint64_t source, std::uint64_t which, std::uint64_t core) {
        return s.call(Syscall::create, {pair(static_cast<std::uint64_t>(ObjectType::irq), 82), 80,
                                        source, which, core});
    };
    EXPECT_EQ(make(device, index, first::core0), Status::in_use);
    EXPECT_EQ(make(device, device_messages, first::core0), Status::bad_argument);
    EXPECT_EQ(make(device, 6, first::domain), Status::wrong_type);
    EXPECT_EQ(make(space, 6, first::core0), Status::wrong_type);
    machine::core(2).apic_id = 255;
    EXPECT_EQ(make(device, 6, first::core2), Status::not_supported);
    ASSERT_EQ(make(device, 6, first::core0), Status::ok);
}

TEST_P(Messages, TheUnitsHaveSoMany) {
    EXPECT_EQ(iommu_model::messages(), 1u);
    for (unsigned n = 0; n < 20; ++n)
        s.make(ObjectType::irq, 100 + 2 * n, kib4, {device, 100 + n, first::core1});
    s.carve(80, kib4);
    const auto make = [&](unsigned which) {
        return s.call(Syscall::create, {pair(static_cast<std::uint64_t>(ObjectType::irq), 82), 80,
                                        device, which, first::core2});
    };
    iommu_model::allow_messages(21);
    EXPECT_EQ(make(7), Status::no_memory);
    ASSERT_EQ(s.call(Syscall::revoke, {100, revoke_flag::self}), Status::ok);
    EXPECT_EQ(iommu_model::messages(), 20u);
    EXPECT_EQ(make(7), Status::ok) << "neither was taken before";
}

TEST_P(Messages, ACoreHasSoManyVectors) {
    Core& core = machine::core(1);
    Irq& mine = s.object<Irq>(irq);
    for (auto& m : core.messages)
        if (m.load() == nullptr) m.store(&mine);
    s.carve(80, kib4);
    const auto make = [&] {
        return s.call(Syscall::create, {pair(static_cast<std::uint64_t>(ObjectType::irq), 82), 80,
                                        device, 7, first::core1});
    };
    EXPECT_EQ(make(), Status::no_memory);
    core.messages[message_vectors - 1].store(nullptr);
    EXPECT_EQ(make(), Status::ok) << "the index was given back";
}

class MovedMessages : public Messages {
  protected:
    static constexpr unsigned home = apic::vector::first_message;
    static constexpr unsigned first_visiting = home + message_vectors - visiting_vectors;

    Status move(Slot core, Slot which = irq) {
        return s.call(Syscall::irq_ctl, {which, static_cast<std::uint64_t>(IrqOp::move), core});
    }
    static void fire(unsigned core, unsigned vector) {
        machine::switch_to(core);
        Irq::fire_message(vector);
        machine::switch_to(0);
    }
    std::uint64_t take() { return s.object<Event>(event).take(); }
    static bool goes_to(unsigned core, unsigned vector) {
        const auto raised = iommu_model::message(function, index);
        return raised && raised->apic_id == machine::core(core).apic_id && raised->vector == vector;
    }
};

INSTANTIATE_TEST_SUITE_P(, MovedMessages, testing::ValuesIn(kinds), name_of);

TEST_P(MovedMessages, OneIsTakenWhereItWasMoved) {
    ASSERT_EQ(bind(), Status::ok);
    EXPECT_TRUE(goes_to(1, home));
    ASSERT_EQ(move(first::core1), Status::ok) << "it is there";
    EXPECT_TRUE(goes_to(1, home));
    ASSERT_EQ(move(first::core0), Status::ok);
    EXPECT_TRUE(goes_to(0, first_visiting));
    fire(0, first_visiting);
    EXPECT_EQ(take(), 4u);
    EXPECT_EQ(machine::core(0).device_messages, 1u);
    fire(1, home);
    EXPECT_EQ(take(), 4u) << "one that was on its way";
    EXPECT_EQ(machine::core(1).device_messages, 1u);
    ASSERT_EQ(bind(), Status::ok);
    EXPECT_TRUE(goes_to(0, first_visiting)) << "binding it again leaves it there";
    ASSERT_EQ(move(first::core2), Status::ok);
    EXPECT_TRUE(goes_to(2, first_visiting));
    EXPECT_EQ(machine::core(0).messages[message_vectors - visiting_vectors].load(), nullptr);
    ASSERT_EQ(move(first::core1), Status::ok);
    EXPECT_TRUE(goes_to(1, home));
    EXPECT_EQ(machine::core(2).messages[message_vectors - visiting_vectors].load(), nullptr);
    EXPECT_EQ(take(), 0u) << "nothing was sent";
}

// What was sent to a vector, and waits at its core when that is given back, counts as having come.
TEST_P(MovedMessages, NoneIsLostOnTheWay) {
    ASSERT_EQ(bind(), Status::ok);
    ASSERT_EQ(move(first::core0), Status::ok);
    machine::now.requested[0] = {first_visiting};
    ASSERT_EQ(move(first::core2), Status::ok);
    EXPECT_EQ(take(), 4u);
    const std::uint64_t strays = machine::core(0).stray_interrupts;
    fire(0, first_visiting);
    EXPECT_EQ(take(), 0u);
    EXPECT_EQ(machine::core(0).stray_interrupts, strays + 1);
    machine::now.requested[2] = {first_visiting};
    ASSERT_EQ(move(first::core1), Status::ok);
    EXPECT_EQ(take(), 4u);
    // The own core's vector stays: what waits there is delivered there.
    machine::now.requested[1] = {home};
    ASSERT_EQ(move(first::core0), Status::ok);
    EXPECT_EQ(take(), 0u);
    fire(1, home);
    EXPECT_EQ(take(), 4u);
}

TEST_P(MovedMessages, BeforeItIsBound) {
    ASSERT_EQ(move(first::core0), Status::ok);
    EXPECT_FALSE(iommu_model::message(function, index));
    ASSERT_EQ(bind(), Status::ok);
    EXPECT_TRUE(goes_to(0, first_visiting));
    ASSERT_EQ(s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::unbind)}),
              Status::ok);
    EXPECT_FALSE(iommu_model::message(function, index));
    fire(0, first_visiting);
    fire(1, home);
    EXPECT_EQ(take(), 0u);
}

TEST_P(MovedMessages, Refusals) {
    ASSERT_EQ(bind(), Status::ok);
    EXPECT_EQ(move(first::domain), Status::wrong_type);
    EXPECT_EQ(move(159), Status::bad_capability);
    machine::core(2).apic_id = 255;
    EXPECT_EQ(move(first::core2), Status::not_supported);
    EXPECT_EQ(move(first::core0, first::core0), Status::wrong_type);
    s.make(ObjectType::irq, 80, kib4, {first::irq_control, 20});
    EXPECT_EQ(move(first::core1, 80), Status::bad_argument) << "a line";
    EXPECT_TRUE(goes_to(1, home));
    ASSERT_EQ(s.call(Syscall::revoke, {device, revoke_flag::self}), Status::ok);
    EXPECT_EQ(move(first::core0), Status::dead_partner);
}

// Where it goes is in what the function writes, which nobody changes behind it.
TEST_P(Devices, MessagesOfTheirOwnStayWhereTheyAre) {
    iommu_model::pass_messages();
    s.make(ObjectType::device, device, storage_device,
           {device_control, function | device_flag::may_raise_any});
    s.make(ObjectType::irq, irq, kib4, {device, 5, first::core1});
    EXPECT_EQ(
        s.call(Syscall::irq_ctl, {irq, static_cast<std::uint64_t>(IrqOp::move), first::core0}),
        Status::not_supported);
}

// Whoever moves theirs to a core leaves room there for whoever makes some.
TEST_P(MovedMessages, ACoreHasSoManyVisitors) {
    for (unsigned n = 0; n < visiting_vectors; ++n) {
        s.make(ObjectType::irq, 100 + 2 * n, kib4, {device, 100 + n, first::core1});
        ASSERT_EQ(move(first::core2, 100 + 2 * n), Status::ok);
    }
    ASSERT_EQ(bind(), Status::ok);
    EXPECT_EQ(move(first::core2), Status::no_memory);
    EXPECT_TRUE(goes_to(1, home)) << "it stays where it is";
    unsigned free = 0;
    for (const auto& m : machine::core(2).messages) free += m.load() == nullptr ? 1 : 0;
    EXPECT_EQ(free, message_vectors - visiting_vectors);
    ASSERT_EQ(s.call(Syscall::revoke, {100, revoke_flag::self}), Status::ok);
    EXPECT_EQ(move(first::core2), Status::ok) << "the vector was given back";
    EXPECT_TRUE(goes_to(2, first_visiting));
}

// Whatever of them goes while it is elsewhere: nothing is left at either core.
TEST_P(MovedMessages, WhatItNeedsGoes) {
    const auto is_gone = [](unsigned core, unsigned vector) {
        const std::uint64_t strays = machine::core(core).stray_interrupts;
        fire(core, vector);
        return machine::core(core).stray_interrupts == strays + 1;
    };
    ASSERT_EQ(bind(), Status::ok);
    ASSERT_EQ(move(first::core0), Status::ok);
    ASSERT_EQ(s.call(Syscall::revoke, {event, revoke_flag::self}), Status::ok);
    EXPECT_FALSE(iommu_model::message(function, index));
    EXPECT_TRUE(is_gone(0, first_visiting) && is_gone(1, home));
    ASSERT_EQ(s.call(Syscall::revoke, {event + 1, revoke_flag::self}), Status::ok);
    s.make(ObjectType::event, event, kib4);
    ASSERT_EQ(bind(), Status::ok);
    EXPECT_TRUE(goes_to(0, first_visiting));
    ASSERT_EQ(s.call(Syscall::revoke, {device, revoke_flag::self}), Status::ok);
    EXPECT_TRUE(is_gone(0, first_visiting) && is_gone(1, home));
    ASSERT_EQ(s.call(Syscall::revoke, {irq, revoke_flag::self}), Status::ok);
    for (unsigned core = 0; core < machine::cores; ++core)
        for (const auto& m : machine::core(core).messages) EXPECT_EQ(m.load(), nullptr);
}

// The Event, the Device and the Irq itself, in any order: a message that comes then is nobody's.
TEST_P(Messages, WhatItNeedsGoes) {
    ASSERT_EQ(bind(), Status::ok);
    ASSERT_EQ(s.call(Syscall::revoke, {event, revoke_flag::self}), Status::ok);
    EXPECT_FALSE(iommu_model::message(function, index));
    ASSERT_EQ(s.call(Syscall::revoke, {event + 1, revoke_flag::self}), Status::ok);
    s.make(ObjectType::event, event, kib4);
    ASSERT_EQ(bind(), Status::ok);
    send();
    EXPECT_EQ(bits(), 4u);
    const unsigned vector = iommu_model::message(function, index)->vector;
    ASSERT_EQ(s.call(Syscall::revoke, {device, revoke_flag::self}), Status::ok);
    EXPECT_FALSE(iommu_model::message(function, index));
    EXPECT_EQ(bind(), Status::dead_partner);
    s.object<Event>(event).take();
    const std::uint64_t strays = machine::core(1).stray_interrupts;
    machine::switch_to(1);
    Irq::fire_message(vector);
    machine::switch_to(0);
    EXPECT_EQ(bits(), 0u);
    EXPECT_EQ(machine::core(1).stray_interrupts, strays + 1);
    ASSERT_EQ(s.call(Syscall::revoke, {irq, revoke_flag::self}), Status::ok);
    EXPECT_EQ(machine::core(1).messages[0].load(), nullptr);
}

}  // namespace
}  // namespace margay

// Threads, portals and vCPUs of one node, with as few words as possible.
#pragma once
#include "system.hpp"

namespace margay {

inline constexpr std::uint64_t kib4 = 4096;

class Ipc : public testing::Test {
  protected:
    // A started thread of that priority.
    Thread& thread(Slot slot, unsigned priority, Slot core = first::core0) {
        s.make(ObjectType::thread, slot, kib4,
               {first::domain, pair(core, priority), 0x401000, 0x7000});
        EXPECT_EQ(s.call(Syscall::thread_ctl, {slot, 0}), Status::ok);
        return s.object<Thread>(slot);
    }
    Portal& portal(Slot slot, std::uint64_t handler) {
        s.make(ObjectType::portal, slot, kib4, {handler, first::core0});
        return s.object<Portal>(slot);
    }
    // The handler is at its first reply_wait.
    Thread& server(Slot slot, unsigned priority) {
        Thread& t = thread(slot, priority);
        EXPECT_EQ(System::leave(), &t);
        System::trap(t, Syscall::reply_wait, {});
        EXPECT_EQ(t.state, ContextState::accepting);
        return t;
    }
    Vcpu& vcpu(Slot slot, Slot portal_slot) {
        s.make(ObjectType::space, slot, 20 * kib4, {8});
        s.carve(slot + 2, kib4);
        s.make(ObjectType::vcpu, slot + 3, storage_vcpu, {slot, pair(first::core0, 10), slot + 2});
        for (unsigned c = 0; c < exit_classes; ++c)
            EXPECT_EQ(s.call(Syscall::vcpu_ctl, {slot + 3, 0, c, portal_slot, 0}), Status::ok);
        return s.object<Vcpu>(slot + 3);
    }
    // Runs up to the guest's first instruction. The handler is open.
    void start(Vcpu& v, Slot vcpu_slot, Thread& handler) {
        ASSERT_EQ(s.call(Syscall::vcpu_ctl, {vcpu_slot, 2}), Status::ok);
        ASSERT_EQ(System::leave(), &handler);
        ASSERT_EQ(handler.gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::startup));
        ASSERT_EQ(reply(handler, Action::resume, v.sequence), &v);
    }
    static Context* reply(Thread& handler, Action a, std::uint64_t sequence,
                          std::uint64_t dirty = 0, std::uint64_t deadline = 0) {
        return System::trap(
            handler, Syscall::reply_wait,
            {0, static_cast<std::uint64_t>(a), sequence, dirty, 0, no_vector, deadline});
    }
    // It fails, as after a fault at user level.
    static void kill(Thread& t) {
        machine::switch_to(t.core->id);
        t.die();
    }

    System s;
};

}  // namespace margay

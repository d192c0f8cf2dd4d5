// A node with one guest that runs, and the handler of all its exits.
#pragma once
#include <gtest/gtest.h>

#include "guest.hpp"
#include "system.hpp"

namespace margay {

class OneGuest : public testing::Test {
  protected:
    void SetUp() override {
        s.make(ObjectType::thread, 20, page_size,
               {first::domain, pair(first::core0, 30), 0x401000, 0x7000});
        ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 0}), Status::ok);
        h = &s.object<Thread>(20);
        ASSERT_EQ(System::leave(), h);
        System::trap(*h, Syscall::reply_wait, {});
        s.make(ObjectType::portal, 22, page_size, {20, first::core0});
        s.make(ObjectType::space, 30, 20 * page_size, {8});
        s.carve(32, page_size);
        s.make(ObjectType::vcpu, 33, storage_vcpu, {30, pair(first::core0, 10), 32});
        for (unsigned c = 0; c < exit_classes; ++c)
            ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 0, c, 22, state::gpr_low | state::rip}),
                      Status::ok);
        v = &s.object<Vcpu>(33);
        ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 2}), Status::ok);
        ASSERT_EQ(System::leave(), h);
        ASSERT_EQ(reply(Action::resume), v);
    }
    Context* reply(Action a, std::uint64_t dirty = 0, std::uint64_t rax = 0,
                   std::uint64_t vector = no_vector) {
        return System::trap(
            *h, Syscall::reply_wait,
            {0, static_cast<std::uint64_t>(a), v->sequence, dirty, rax, vector, no_deadline});
    }

    System s;
    Thread* h;
    Vcpu* v;
};

}  // namespace margay

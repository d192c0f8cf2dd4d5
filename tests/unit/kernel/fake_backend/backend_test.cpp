// Exits, replies and interrupts through a back end that knows no processor extension.
#include "one_guest.hpp"

namespace margay {
namespace {

using FakeBackend = OneGuest;

TEST_F(FakeBackend, ExitCarriesItsStateAndTheReplyChangesIt) {
    machine::set_rip(*v, 0x1000);
    v->guest.set_rax(7);
    v->gpr[gpr_rbx] = 8;
    ASSERT_EQ(System::exit_guest(*v, ExitClass::cpuid, 7, 1), h);
    EXPECT_EQ(h->gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::cpuid));
    EXPECT_EQ(h->gpr[gpr_r8], 0x1000u);
    EXPECT_EQ(v->page->gpr[gpr_rax], 7u);
    EXPECT_EQ(v->page->gpr[gpr_rbx], 8u);
    EXPECT_EQ(v->page->rip, 0x1000u);
    v->page->gpr[gpr_rcx] = 9;
    const unsigned entries = v->guest.entries;
    ASSERT_EQ(reply(Action::advance, state::gpr_low), v);
    EXPECT_EQ(v->guest.rip(), 0x1002u);
    EXPECT_EQ(v->gpr[gpr_rcx], 9u);
    EXPECT_EQ(v->guest.entries, entries + 1);
    ASSERT_EQ(System::exit_guest(*v, ExitClass::port, 0x3f8, 0x2000), h);
    ASSERT_EQ(reply(Action::advance, state::rax_word, 0x55), v);
    EXPECT_EQ(v->guest.rax(), 0x55u);
    EXPECT_EQ(v->guest.rip(), 0x2000u);
}

TEST_F(FakeBackend, InterruptsAndEventsGoToTheBackEnd) {
    ASSERT_EQ(System::exit_guest(*v, ExitClass::mmio, 0xfee00000, mmio_access::write), h);
    v->guest.in_shadow = true;
    ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x31), v);
    EXPECT_EQ(v->guest.interrupt, 0x31u);
    ASSERT_EQ(System::exit_guest(*v, ExitClass::mmio, 0xfee00000, 0), h);
    EXPECT_EQ(h->gpr[gpr_rsi] >> 8, exit_flag::irq_pending | exit_flag::shadow);
    v->page->event = event_injection::valid | event_injection::type_exception | 6;
    ASSERT_EQ(reply(Action::resume, state::event | state::irq_word, 0, no_vector), v);
    EXPECT_EQ(v->guest.interrupt, no_vector);
    EXPECT_EQ(v->guest.injected, v->page->event);
    EXPECT_EQ(v->guest.flushes, 0u);
    ASSERT_EQ(System::exit_guest(*v, ExitClass::mmio, 0xfee00000, 0), h);
    ASSERT_EQ(reply(Action::resume, state::translations), v);
    EXPECT_EQ(v->guest.flushes, 1u);
    // What the back end refuses leaves the exit pending.
    ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
    v->page->event = event_injection::valid;
    EXPECT_EQ(reply(Action::resume, state::event), h);
    EXPECT_EQ(status_of(*h), Status::bad_argument);
    EXPECT_TRUE(v->has_pending());
}

TEST_F(FakeBackend, PortsAreMappedThroughItsPermissions) {
    auto& space = s.object<Space>(30);
    ASSERT_EQ(s.call(Syscall::map, {pair(first::ports, 30), 0x60, 0x60, 5, map_right::read}),
              Status::ok);
    for (std::uint64_t port = 0x58; port < 0x70; ++port)
        EXPECT_EQ(space.permissions.intercepts_port(port), port < 0x60 || port >= 0x65);
    EXPECT_EQ(s.call(Syscall::map, {pair(first::ports, 30), 0x64, 0x64, 1, map_right::read}),
              Status::occupied);
}

}  // namespace
}  // namespace margay

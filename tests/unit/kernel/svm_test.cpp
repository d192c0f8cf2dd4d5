// The SVM back end: exceptions that it gives back to the guest, single steps, replies that it refuses.
#include "one_guest.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/machine_check.hpp"

extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu);

namespace margay {
namespace {

constexpr std::uint64_t tf = 1 << 8, rflags_if = 1 << 9, bs = 1 << 14, none = 0xffff0ff0;
constexpr std::uint64_t exception = event_injection::valid | event_injection::type_exception;
constexpr std::uint64_t nmi = event_injection::valid | event_injection::type_nmi | 2;

constexpr std::uint64_t all = state::all & ~state::instruction;

class Svm : public OneGuest {
  protected:
    void SetUp() override {
        OneGuest::SetUp();
        c = v->guest.vmcb;
        machine::now.on_take_interrupts = [this] { ++let_in; };
    }
    Context* exit(std::uint64_t code, std::uint64_t info1 = 0, std::uint64_t delivering = 0) {
        c->exit_code = code;
        c->exit_info1 = info1;
        c->exit_int_info = delivering;
        return machine::run([this] { guest_exited(v); });
    }
    // A page that may be entered in long mode.
    void fill_page() {
        VcpuState& p = *v->page;
        p = VcpuState{};
        p.rflags = 2;
        p.cs = {8, 0xa9b, 0xffffffff, 0};
        p.ss = p.ds = p.es = p.fs = p.gs = SegmentState{16, 0xc93, 0xffffffff, 0};
        p.tr = {24, 0x8b, 0x67, 0};
        p.ldtr = {0, 0x82, 0, 0};
        p.cr0 = 0x80000011, p.cr4 = cpu::cr4::pae, p.efer = cpu::efer::lme, p.cr3 = 0x1000;
        p.dr6 = none, p.dr7 = 0x400, p.pat = 0x0007040600070406;
    }
    bool accepted(std::uint64_t groups) {
        const VcpuState page = *v->page;
        EXPECT_EQ(exit(vmcb::exit_npf), h);
        *v->page = page;  // the exit stored some
        const bool taken = reply(Action::resume, groups) == v;
        if (!taken) {
            EXPECT_EQ(status_of(*h), Status::bad_argument);
            EXPECT_EQ(reply(Action::resume), v);
        }
        return taken;
    }

    Vmcb* c;
    unsigned let_in = 0;
};

// Emulators flush at every entry: that it is done where it is asked for, and only there, shows here alone.
TEST_F(Svm, TranslationsAreForgottenOnRequestOnly) {
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    ASSERT_EQ(reply(Action::resume), v);
    unsigned flushes = 0;
    for (unsigned n = 0; n < 40; ++n) {
        const std::uint32_t asid = c->asid;
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        EXPECT_EQ(c->tlb_control, 0) << "once is enough";
        ASSERT_EQ(reply(Action::resume), v);
        EXPECT_EQ(c->asid, asid);
        EXPECT_EQ(c->tlb_control, 0);
        // A refused reply does nothing.
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        ASSERT_EQ(reply(Action::resume, state::translations | state::valid_reply << 1), h);
        ASSERT_EQ(reply(Action::resume), v);
        EXPECT_EQ(c->asid, asid);
        // Either it has identifiers that the processor has nothing for, or the processor forgets all.
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        ASSERT_EQ(reply(Action::resume, state::translations), v);
        ASSERT_NE(c->asid, 0u);
        if (c->tlb_control == vmcb::flush_all)
            ++flushes;
        else
            EXPECT_NE(c->asid, asid);
        // An interrupt of the host's right behind it, and the same again without a reply.
        ASSERT_EQ(exit(vmcb::exit_intr), v);
        EXPECT_EQ(c->tlb_control, 0);
    }
    EXPECT_EQ(flushes, 2u);
    // A reply that parks: when it wakes.
    const std::uint32_t asid = c->asid;
    ASSERT_EQ(exit(vmcb::exit_hlt), h);
    ASSERT_NE(reply(Action::park_advance, state::translations), v);
    v->notify(attention::recall);
    ASSERT_EQ(System::leave(), h);
    ASSERT_EQ(reply(Action::resume), v);
    EXPECT_NE(c->asid, asid);
}

TEST_F(Svm, DebugAndAlignmentExceptionsAreTheGuests) {
    EXPECT_EQ(c->exceptions & (1u << 1 | 1u << 17), 1u << 1 | 1u << 17) << "never left out";
    const std::uint64_t sequence = v->sequence;
    c->dr6 = none | bs;
    ASSERT_EQ(exit(vmcb::exception_db), v);
    EXPECT_EQ(c->event_injection, exception | 1);
    EXPECT_EQ(c->dr6, none | bs) << "as the processor left it";
    ASSERT_EQ(exit(vmcb::exception_ac), v);
    EXPECT_EQ(c->event_injection, exception | event_injection::has_error | 17);
    EXPECT_EQ(v->sequence, sequence) << "no handler hears of it";
    EXPECT_EQ(let_in, 2u) << "interrupts come in between";
    // Then it was delivered.
    ASSERT_EQ(exit(vmcb::exit_intr), v);
    EXPECT_EQ(c->event_injection, 0u);
}

// A handler's stack that raises #AC again, for ever: the processor must come back to the kernel each time.
TEST_F(Svm, EndlessDeliveryCanBeStopped) {
    constexpr std::uint64_t ac = exception | event_injection::has_error | 17;
    for (unsigned n = 0; n < 100; ++n) {
        ASSERT_EQ(exit(vmcb::exception_ac, 0, n == 0 ? 0 : ac), v);
        ASSERT_EQ(c->event_injection, ac);
    }
    EXPECT_EQ(let_in, 100u);
    // A recall reaches the handler within one round, with the exception still to be delivered.
    machine::now.on_take_interrupts = [this] { v->notify(attention::recall); };
    ASSERT_EQ(exit(vmcb::exception_ac, 0, ac), h);
    EXPECT_EQ(h->gpr[gpr_rsi],
              static_cast<std::uint64_t>(ExitClass::recall) | exit_flag::delivering << 8);
    ASSERT_EQ(reply(Action::resume), v);
    EXPECT_EQ(c->event_injection, ac);
    // So does a suspension.
    machine::now.on_take_interrupts = [this] {
        v->notify(attention::recall | attention::suspended);
    };
    ASSERT_EQ(exit(vmcb::exception_ac, 0, ac), h);
    machine::now.on_take_interrupts = nullptr;
    EXPECT_EQ(reply(Action::resume), nullptr);
    EXPECT_EQ(v->state, ContextState::stopped);
}

TEST_F(Svm, WhatTheExceptionInterruptedIsNotLost) {
    // An interrupt that was being delivered waits in V_IRQ.
    ASSERT_EQ(exit(vmcb::exception_ac, 0, event_injection::valid | 0x41), v);
    EXPECT_EQ(c->event_injection & 0xff, 17u);
    EXPECT_NE(c->virtual_interrupt & vmcb::v_irq, 0u);
    EXPECT_EQ(c->virtual_interrupt >> vmcb::v_vector_shift, 0x41u);
    c->virtual_interrupt &= ~vmcb::v_irq;
    // An NMI comes right after.
    ASSERT_EQ(exit(vmcb::exception_db, 0, nmi), v);
    EXPECT_EQ(c->event_injection, exception | 1);
    ASSERT_EQ(exit(vmcb::exit_intr), v);
    EXPECT_EQ(c->event_injection, nmi);
    ASSERT_EQ(exit(vmcb::exit_intr), v);
    EXPECT_EQ(c->event_injection, 0u);
}

TEST_F(Svm, AHandlerThatWantsThemGetsThem) {
    fill_page();
    v->page->intercepts.exceptions = 1u << 1 | 1u << 17;
    ASSERT_TRUE(accepted(state::intercepts));
    ASSERT_EQ(exit(vmcb::exception_ac, 0), h);
    EXPECT_EQ(h->gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::exception));
    EXPECT_EQ(h->gpr[gpr_r9], 17u);
}

// Not every emulator takes what is in V_IRQ when it enters a guest with IF set.
TEST_F(Svm, AnInterruptThatCanBeTakenIsInjected) {
    constexpr std::uint64_t interrupt = event_injection::valid | 0x41;
    const auto offer = [this](std::uint64_t rflags) {
        EXPECT_EQ(exit(vmcb::exit_npf), h);
        c->rflags = rflags;
        EXPECT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
    };
    offer(2 | rflags_if);
    EXPECT_EQ(c->event_injection, interrupt);
    EXPECT_EQ(c->virtual_interrupt & vmcb::v_irq, 0u);
    // It was delivered.
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    EXPECT_EQ(h->gpr[gpr_rsi] >> 8 & exit_flag::irq_pending, 0u);
    ASSERT_EQ(reply(Action::resume), v);
    EXPECT_EQ(c->event_injection, 0u);

    // Its delivery was interrupted: it is offered again, and may be taken back.
    offer(2 | rflags_if);
    ASSERT_EQ(exit(vmcb::exit_npf, 0, interrupt), h);
    EXPECT_NE(h->gpr[gpr_rsi] >> 8 & exit_flag::irq_pending, 0u);
    EXPECT_EQ(v->guest.irq_vector, 0x41u);
    ASSERT_EQ(reply(Action::resume), v);
    EXPECT_EQ(c->event_injection, interrupt);
    ASSERT_EQ(exit(vmcb::exit_npf, 0, interrupt), h);
    ASSERT_EQ(reply(Action::resume, state::irq_word, 0, no_vector), v);
    EXPECT_EQ(c->event_injection, 0u);
    EXPECT_EQ(c->virtual_interrupt & vmcb::v_irq, 0u);

    // IF is clear: it waits for that. An exception goes first.
    offer(2);
    EXPECT_EQ(c->event_injection, 0u);
    EXPECT_NE(c->virtual_interrupt & vmcb::v_irq, 0u);
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    EXPECT_NE(h->gpr[gpr_rsi] >> 8 & exit_flag::irq_pending, 0u);
    c->rflags |= rflags_if;
    ASSERT_EQ(reply(Action::resume), v);
    ASSERT_EQ(exit(vmcb::exception_ac, 0, interrupt), v);
    EXPECT_EQ(c->event_injection, exception | event_injection::has_error | 17);
    EXPECT_NE(c->virtual_interrupt & vmcb::v_irq, 0u);
    ASSERT_EQ(exit(vmcb::exit_intr), v);
    EXPECT_EQ(c->event_injection, interrupt);
}

TEST_F(Svm, WhatInjectsTwiceIsOfferedInterrupts) {
    machine::now.injects_twice = true;
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    c->rflags = 2 | rflags_if;
    ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
    EXPECT_EQ(c->event_injection, 0u);
    EXPECT_NE(c->virtual_interrupt & vmcb::v_irq, 0u);
}

// The single step out of an interrupt shadow uses #DB as well.
TEST_F(Svm, StepOutOfAShadowIsInvisible) {
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    c->interrupt_shadow = 1;
    c->dr6 = none | 1;
    ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
    EXPECT_EQ(c->virtual_interrupt & vmcb::v_irq, 0u) << "held back";
    EXPECT_NE(c->rflags & tf, 0u);
    c->interrupt_shadow = 0;
    c->dr6 |= bs;
    ASSERT_EQ(exit(vmcb::exception_db), v);
    EXPECT_EQ(c->rflags & tf, 0u);
    EXPECT_EQ(c->dr6, none | 1) << "as the guest had it";
    EXPECT_EQ(c->event_injection, 0u);
    EXPECT_NE(c->virtual_interrupt & vmcb::v_irq, 0u);
}

// PUSHF, INT, SYSCALL and faults would show the trap flag: they are executed without it, and without the shadow.
TEST_F(Svm, WhatWouldSeeTheStepIsNotStepped) {
    const auto exceptions = c->exceptions;
    const auto intercept1 = c->intercept1, intercept2 = c->intercept2;
    c->efer |= cpu::efer::sce;
    for (const std::uint64_t code :
         {+vmcb::exit_pushf, +vmcb::exit_popf, +vmcb::exit_iret, +vmcb::exit_software_interrupt,
          +vmcb::exit_icebp, +vmcb::dr_read_0 + 6, +vmcb::dr_write_0 + 6, vmcb::exception_0 + 3ul,
          vmcb::exception_0 + 6ul, vmcb::exception_0 + 14ul}) {
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        c->interrupt_shadow = 1;
        ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
        EXPECT_EQ(c->exceptions, ~0u);
        EXPECT_EQ(c->efer & cpu::efer::sce, 0u);
        EXPECT_NE(c->rflags & tf, 0u);
        const std::uint64_t sequence = v->sequence;
        ASSERT_EQ(exit(code), v) << code;
        EXPECT_EQ(v->sequence, sequence) << "no handler hears of it";
        EXPECT_EQ(c->rflags & tf, 0u);
        EXPECT_EQ(c->interrupt_shadow, 0u);
        EXPECT_NE(c->virtual_interrupt & vmcb::v_irq, 0u);
        EXPECT_EQ(c->exceptions, exceptions);
        EXPECT_EQ(c->intercept1, intercept1);
        EXPECT_EQ(c->intercept2, intercept2);
        EXPECT_EQ(c->dr_read | c->dr_write, 0);
        EXPECT_NE(c->efer & cpu::efer::sce, 0u);
        EXPECT_EQ(c->event_injection, 0u) << "it comes again";
        c->virtual_interrupt &= ~vmcb::v_irq;
    }
}

// STI;HLT must not sleep: the shadow stays until the instruction was executed.
TEST_F(Svm, AnInterruptedStepBeginsAgain) {
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    c->interrupt_shadow = 1;
    ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
    c->interrupt_shadow = 0;  // as the emulator leaves it
    ASSERT_EQ(exit(vmcb::exit_intr), v);
    EXPECT_EQ(c->interrupt_shadow & 1, 1u);
    EXPECT_EQ(c->virtual_interrupt & vmcb::v_irq, 0u) << "stepped once more";
    EXPECT_NE(c->rflags & tf, 0u);
}

// Also where no interrupt is offered yet, which is when the next exit asks for one.
TEST_F(Svm, AShadowIsKeptUntilItsInstructionIsExecuted) {
    const auto leave = [this](std::uint64_t rip) {
        c->rip = rip;
        c->interrupt_shadow = 0;  // as the emulator leaves it
        EXPECT_EQ(exit(vmcb::exit_intr), v);
        return c->interrupt_shadow & 1;
    };
    for (const bool by_reply : {false, true}) {
        c->rip = 0x1000;
        c->interrupt_shadow = 1;
        if (by_reply) {
            ASSERT_EQ(exit(vmcb::exit_npf), h);
            ASSERT_EQ(reply(Action::resume), v);
        } else {
            ASSERT_EQ(exit(vmcb::exit_intr), v);
        }
        EXPECT_EQ(leave(0x1000), 1u);
        EXPECT_EQ(leave(0x1000), 1u) << "not once only";
        c->interrupt_shadow = 0;
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        EXPECT_NE(h->gpr[gpr_rsi] >> 8 & exit_flag::shadow, 0u);
        ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
        EXPECT_NE(c->rflags & tf, 0u) << "and so the interrupt waits";
        c->dr6 |= bs;
        c->rip = 0x1001, c->interrupt_shadow = 0;
        ASSERT_EQ(exit(vmcb::exception_db), v);
        EXPECT_EQ(c->interrupt_shadow, 0u);
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        ASSERT_EQ(reply(Action::resume, state::irq_word, 0, no_vector), v);
        // It was executed.
        c->interrupt_shadow = 1;
        ASSERT_EQ(exit(vmcb::exit_intr), v);
        EXPECT_EQ(leave(0x1002), 0u);
        EXPECT_EQ(leave(0x1001), 0u) << "that was long ago";
    }
    // An instruction that a handler did or skipped has none.
    c->interrupt_shadow = 1;
    c->next_rip = 0x1003;
    ASSERT_EQ(exit(vmcb::exit_hlt), h);
    ASSERT_EQ(reply(Action::advance), v);
    EXPECT_EQ(leave(0x1003), 0u);
}

TEST_F(Svm, AnEventEndsTheShadow) {
    fill_page();
    const VcpuState page = *v->page;
    ASSERT_EQ(exit(vmcb::exit_npf), h);
    *v->page = page;
    v->page->event = exception | 6;
    c->interrupt_shadow = 1;
    ASSERT_EQ(reply(Action::resume, state::irq_word | state::event, 0, 0x41), v);
    EXPECT_EQ(c->rflags & tf, 0u) << "it would be pushed";
    EXPECT_EQ(c->interrupt_shadow, 0u);
}

TEST_F(Svm, NmisDoNotNest) {
    const auto send = [this] {
        fill_page();
        v->page->event = nmi;
        return accepted(state::event);
    };
    ASSERT_TRUE(send());
    EXPECT_EQ(c->event_injection, nmi);
    EXPECT_NE(c->intercept1 & vmcb::iret, 0u);
    ASSERT_EQ(exit(vmcb::exit_intr), v);
    ASSERT_TRUE(send());
    ASSERT_TRUE(send());
    EXPECT_EQ(c->event_injection, 0u) << "they wait, as one";
    const std::uint64_t sequence = v->sequence;
    ASSERT_EQ(exit(vmcb::exit_iret), v);
    EXPECT_EQ(c->event_injection, nmi);
    EXPECT_NE(c->intercept1 & vmcb::iret, 0u);
    ASSERT_EQ(exit(vmcb::exit_iret), v);
    EXPECT_EQ(c->event_injection, 0u);
    EXPECT_EQ(c->intercept1 & vmcb::iret, 0u);
    EXPECT_EQ(v->sequence, sequence) << "no handler hears of it";
    ASSERT_TRUE(send());
    EXPECT_EQ(c->event_injection, nmi);
}

TEST_F(Svm, StepKeepsTheGuestsOwnDebugException) {
    for (const bool traced : {true, false}) {
        ASSERT_EQ(exit(vmcb::exit_npf), h);
        c->interrupt_shadow = 1;
        c->dr6 = none;
        c->rflags = 2 | (traced ? tf : 0);
        ASSERT_EQ(reply(Action::resume, state::irq_word, 0, 0x41), v);
        c->interrupt_shadow = 0;
        c->dr6 |= traced ? bs : bs | 2;  // a breakpoint of its own
        ASSERT_EQ(exit(vmcb::exception_db), v);
        EXPECT_EQ(c->event_injection, exception | 1);
        EXPECT_EQ(c->dr6, none | (traced ? bs : 2));
        EXPECT_EQ(c->rflags & tf, traced ? tf : 0);
        c->virtual_interrupt &= ~vmcb::v_irq;
    }
}

TEST_F(Svm, PhysicalEventsAreNoExitsOfTheGuest) {
    const std::uint64_t sequence = v->sequence;
    unsigned n = 0;
    for (const std::uint64_t code :
         {vmcb::exit_intr, vmcb::exit_nmi, vmcb::exit_smi, vmcb::exit_init}) {
        ASSERT_EQ(exit(code), v);
        EXPECT_EQ(let_in, ++n);
    }
    EXPECT_EQ(v->sequence, sequence);
}

// The machine's own trouble, not the guest's.
TEST_F(Svm, MachineCheckWhileAGuestRuns) {
    machine::now.msr[0x179] = 4;
    machine::now.msr[0x17a] =
        machine_check::mcg_status::in_progress | machine_check::mcg_status::restart_valid;
    const std::uint64_t sequence = v->sequence;
    ASSERT_EQ(exit(vmcb::exception_mc), v);
    EXPECT_EQ(v->core->machine_checks, 1u);
    EXPECT_EQ(v->sequence, sequence);
}

TEST_F(Svm, RefusesStatesThatVmrunMustNotSee) {
    const auto good = [this] {
        fill_page();
        return accepted(all);
    };
    ASSERT_TRUE(good());
    EXPECT_EQ(c->efer, cpu::efer::lme | cpu::efer::lma | cpu::efer::svme) << "LMA is computed";
    const auto refuses = [&](auto change, std::uint64_t groups = all) {
        EXPECT_TRUE(good());
        const Vmcb before = *c;
        change(*v->page);
        const bool taken = accepted(groups);
        EXPECT_EQ(before.cr0, c->cr0);
        EXPECT_EQ(before.efer, c->efer);
        EXPECT_EQ(before.rip, c->rip);
        return !taken;
    };
    EXPECT_TRUE(refuses([](VcpuState& p) { p.cr0 = 0x80000010; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.cr4 = 0; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.cr4 = 0; }, state::control));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.rip = 1ull << 47; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.rip = 1ull << 47; }, state::rip)) << "the short way";
    EXPECT_TRUE(refuses([](VcpuState& p) { p.rflags = 1 << 17 | 2; }, state::rflags));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.cs.attributes |= 1 << 10; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.fs.base = 1ull << 63; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.kernel_gs_base = 1ull << 63; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.lstar = 1ull << 63; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.sysenter_eip = 1ull << 63; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.idtr.base = 1ull << 63; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.dr6 |= 1ull << 32; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.dr7 |= 1ull << 32; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.pat = 2; }));
    EXPECT_TRUE(refuses([](VcpuState& p) { p.event = exception | 14; })) << "without error code";
    EXPECT_TRUE(good());
    // What the guest has not in 64-bit code it may have in 32 bits: checks look at the new state.
    fill_page();
    v->page->cs.attributes = 0xc9b;
    v->page->rip = 1ull << 32;
    EXPECT_FALSE(accepted(all));
    v->page->rip = 0xffff'ffff;
    EXPECT_TRUE(accepted(all));
    EXPECT_FALSE((v->page->rip = 1ull << 32, accepted(state::rip)));
}

// See Features::pae_unchecked: LME without PAE must not be there at any exit.
TEST_F(Svm, EmulatorThatDoesNotCheckPae) {
    for (const bool unchecked : {false, true}) {
        machine::now.pae_unchecked = unchecked;
        fill_page();
        v->page->cr0 = 0x11, v->page->cr4 = 0;
        ASSERT_TRUE(accepted(all));
        EXPECT_EQ(c->cr4, unchecked ? cpu::cr4::pae : 0);
        EXPECT_EQ(c->cr_write >> 4 & 1, unchecked ? 1 : 0) << "the guest's own writes";
        v->page->efer = 0;
        ASSERT_TRUE(accepted(all));
        EXPECT_EQ(c->cr4, 0u);
        fill_page();
        v->page->cr4 = 0;
        EXPECT_FALSE(accepted(all));
    }
}

TEST_F(Svm, PrivilegeLevelFitsTheMode) {
    fill_page();
    v->page->ss.attributes |= 3 << 5;
    ASSERT_TRUE(accepted(all));
    EXPECT_EQ(c->cpl, 3u);
    v->page->cr0 = 0x10, v->page->efer = 0, v->page->cr4 = 0;
    ASSERT_TRUE(accepted(all));
    EXPECT_EQ(c->cpl, 0u) << "real mode";
    v->page->cr0 = 0x11, v->page->rflags = 1 << 17 | 2, v->page->ss.attributes = 0x93;
    ASSERT_TRUE(accepted(all));
    EXPECT_EQ(c->cpl, 3u) << "virtual 8086 mode";
}

}  // namespace
}  // namespace margay

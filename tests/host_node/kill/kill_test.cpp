// Wherever the VMM is killed while it handles an exit, a successor that takes over and handles the exit
// again comes to where an undisturbed VMM comes: device state, guest RAM, console bytes, the reply.
//
// Machine::handle is executed instruction by instruction, in a child process, for each exit of a guest. What
// a kill after an instruction leaves behind is what is in shared memory then, so a successor, another child,
// is let loose on that whenever it has changed: every instruction of every exit is covered without a
// successor for each. Some VMMs are really killed.
#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/state/half.hpp"
#include "servers/vmm/vm_layout.hpp"
#include "tests/host_node/kill/single_step.hpp"
#include "tests/host_node/kill/stage.hpp"
#include "tests/host_node/scripts.hpp"

namespace margay::host_node::kill {
namespace {

using vmm::kill::single_step;

// Devices in all their states; interrupts that come by every way.
GuestScript devices() {
    GuestScript g;
    const auto mmio = [&g](std::uint32_t address, std::uint32_t value) {
        g.mmio_write(address, value);
    };
    constexpr std::uint32_t select = 0xfec0'0000, data = 0xfec0'0010, eoi = 0x80b;
    g.write_msr(apic_base, x2apic)
        .write_msr(0x80f, 0x1ff)
        .out(0x3ff, 0x55)
        .out(0x3fb, 0x83)
        .out(0x3f8, 1, 2)
        .out(0x3fb, 3);
    g.out(0x3f8, 'a').out(0x3fa, 0x81).out(0x3fc, 0x0b);
    mmio(select, 0x19), mmio(data, 0), mmio(select, 0x18), mmio(data, 0x41);
    g.out(0x3f9, 0x05).in(0x3fa).wait();  // what is typed first
    g.in(0x3fa);
    for (unsigned i = 0; i < 5; ++i) g.in(0x3f8);
    g.write_msr(eoi, 0).wait();  // more than there is room for
    for (unsigned i = 0; i < 19; ++i) g.in(0x3f8);
    g.write_msr(eoi, 0).say_string("a string, by one exit").in(0x3fd);
    g.out(0x3fc, 0x1b).out(0x3f8, 'z').in(0x3f8).out(0x3fc, 0x0b).in(0x3fe);
    // PV EOI, the timer in all modes, IPIs, errors, clocks.
    g.write_msr(0x4b56'4d04, 0x1001).write_msr(0x83e, 0xb).write_msr(0x832, 0xec);
    g.write_msr(0x838, 100).wait().write_msr(0x83f, 0x31).write_msr(eoi, 0).wait();
    g.write_msr(eoi, 0).write_msr(0x83f, 0x51).wait().write_msr(0x4b56'4d04, 0x2001);
    g.write_msr(eoi, 0).write_msr(0x832, 0x2'00ed).write_msr(0x838, 900'000).wait();
    g.write_msr(eoi, 0).wait().write_msr(eoi, 0).write_msr(0x838, 0).read_msr(0x839);
    g.write_msr(0x832, 0x4'00ee).write_msr(0x6e0, 1'000'000'000).write_msr(0x10, 500'000'000);
    g.write_msr(0x3b, 12345).write_msr(0x6e0, 1).wait().write_msr(eoi, 0);
    g.write_msr(0x808, 0x40).read_msr(0x808).write_msr(0x808, 0).write_msr(0x83f, 0x03);
    g.write_msr(0x828, 0).read_msr(0x828).write_msr(0x830, 0x0004'0400);
    g.write_msr(0x4b56'4d01, 0x3001).write_msr(0x4b56'4d01, 0x3001).write_msr(0x4b56'4d00, 0x3100);
    // PIC, PIT, RTC, PM, PCI.
    g.out(0x20, 0x11).out(0x21, 0x30).out(0x21, 4).out(0x21, 1).out(0x21, 0xee);
    g.out(0x43, 0x34).out(0x40, 0x10).out(0x40, 2).in(0x61).out(0x20, 0x0c).in(0x20);
    g.out(0x20, 0x20).out(0x43, 0).in(0x40).in(0x40).out(0x43, 0xc2).in(0x40);
    g.out(0x43, 0xb0).out(0x61, 3).out(0x43, 0x30);
    g.out(0x70, 0x0b).out(0x71, 0x42).out(0x70, 0x0c).in(0x71).out(0x70, 0x40).out(0x71, 0x99);
    g.out(0x70, 2).out(0x71, 0x12).out(0x70, 0x0b).out(0x71, 0x02);
    g.out(0x602, 0x0101, 2).in(0x600, 2).out(0x600, 0x0100, 2);
    mmio(select, 0x22), mmio(data, 0x8052);  // and its power button
    g.wait().in(0x600, 2).out(0x600, 0x0100, 2).write_msr(eoi, 0).in(0x600, 2);
    g.out(0xcf8, 0x8000'0004, 4).out(0xcfc, 0x0107, 2).in(0xcfc, 4);
    // The APIC by memory; it cannot go there from x2APIC but through off.
    g.write_msr(0x1b, 0xfee0'0100).write_msr(0x1b, 0xfee0'0900);
    mmio(0xfee0'0080, 0x20);
    g.mmio_read(0xfee0'0080).pause().interrupt_window().say_sum().power_off();
    return g;
}

// What a child process has to say.
struct Shared {
    vmm::Reply reply;
};

std::string difference(const vmm::Reply& a, const VcpuState& sa, const vmm::Reply& b,
                       const VcpuState& sb) {
    if (a.action != b.action) return "action";
    if (a.dirty != b.dirty) return "dirty";
    using namespace state;
    const auto dirty = [&](std::uint64_t group) { return (a.dirty & group) != 0; };
    const auto same = [&](const auto&... members) {
        return ((std::memcmp(&(sa.*members), &(sb.*members), sizeof(sa.*members)) == 0) && ...);
    };
    const auto same_gprs = [&](unsigned from, unsigned to) {
        return std::equal(sa.gpr + from, sa.gpr + to, sb.gpr + from);
    };
    using S = VcpuState;
    if (dirty(rax_word) && a.rax != b.rax) return "RAX";
    if (dirty(irq_word) && a.vector != b.vector) return "interrupt";
    if (dirty(deadline_word) && a.deadline != b.deadline) return "deadline";
    if (dirty(gpr_low) && !same_gprs(0, 4)) return "rax rcx rdx rbx";
    if (dirty(gpr_mid) && !same_gprs(4, 8)) return "rsp rbp rsi rdi";
    if (dirty(gpr_high) && !same_gprs(8, 16)) return "r8 to r15";
    if (dirty(rip) && !same(&S::rip)) return "rip";
    if (dirty(rflags) && !same(&S::rflags)) return "rflags";
    if (dirty(segments) && !same(&S::es, &S::cs, &S::ss, &S::ds, &S::fs, &S::gs)) return "segments";
    if (dirty(tables) && !same(&S::tr, &S::ldtr, &S::gdtr, &S::idtr)) return "tables";
    if (dirty(control) && !same(&S::cr0, &S::cr2, &S::cr3, &S::cr4, &S::efer)) return "control";
    if (dirty(debug) && !same(&S::dr6, &S::dr7)) return "debug";
    if (dirty(system_msrs) && !same(&S::star, &S::lstar, &S::cstar, &S::sfmask, &S::kernel_gs_base,
                                    &S::sysenter_cs, &S::sysenter_esp, &S::sysenter_eip))
        return "system MSRs";
    if (dirty(pat) && !same(&S::pat)) return "PAT";
    if (dirty(event) && !same(&S::event)) return "event";
    if (dirty(intercepts) && !same(&S::intercepts)) return "intercepts";
    if (dirty(tsc_offset) && !same(&S::tsc_offset)) return "TSC offset";
    if (dirty(shadow) && !same(&S::shadow)) return "shadow";
    if (dirty(state::fpu) && !same(&S::fpu)) return "FPU";
    return {};
}

// The first difference that counts; empty if there is none. What was saved for undoing does not count.
std::string difference(const Remains& a, const Remains& b) {
    const auto& half_a = a.region.active();
    const auto& half_b = b.region.active();
    for (const auto& section : vmm::vm_layout().sections)
        if (std::memcmp(live(half_a, section), live(half_b, section), section.size) != 0)
            return section.name;
    // Heads, tails and bytes.
    const auto same = [](const auto& x, const auto& y) {
        return std::memcmp(static_cast<const void*>(&x), &y, sizeof(x)) == 0;
    };
    if (!same(a.console.output, b.console.output)) return "console output";
    if (!same(a.console.input, b.console.input)) return "console input";
    if (!same(a.control.outcome, b.control.outcome)) return "the VM's outcome";
    if (!same(a.control.function, b.control.function)) return "wishes for its functions";
    if (!same(a.control.reason, b.control.reason)) return "the VM's reason";
    return {};
}

// A function at 00:02.0 whose only BAR is the page with its MSI-X table and pending bits, and some registers.
GuestFunctions& one_function() {
    static GuestFunctions functions;
    functions = {};
    functions.count = functions.parts = 1;
    GuestFunction& f = functions.function[0];
    f.messages = 2, f.pending_offset = 0x400;
    f.bar_size[0] = page_size;
    const auto put = [&f](unsigned at, std::initializer_list<std::uint8_t> bytes) {
        std::copy(bytes.begin(), bytes.end(), &f.config[at]);
    };
    put(0x00, {0x36, 0x1b, 0x10, 0x00, 0, 0, 0x10});
    f.config[0x34] = 0x40;
    put(0x40, {0x11, 0x80, 1, 0, 0, 0, 0, 0, 0, 4});
    put(0x80, {0x10, 0, 2});
    FunctionPart& part = functions.part[0];
    part.is_trapped = 1, part.size = page_size;
    // The function's own registers: they outlive VMMs.
    static void* const page =
        mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    std::memset(page, 0, page_size);
    part.address = reinterpret_cast<std::uint64_t>(page);
    return functions;
}

// Finds its function, places it, has it interrupt, lets it master the bus, and resets it.
GuestScript driver() {
    GuestScript g;
    const auto config = [&g](unsigned reg, std::uint32_t value, unsigned width) {
        g.out(0xcf8, 0x8000'1000 | (reg & ~3U), 4);
        g.out(static_cast<std::uint16_t>(0xcfc + reg % 4), value, width);
    };
    constexpr std::uint32_t bar = 0xc000'0000, eoi = 0x80b;
    g.write_msr(apic_base, x2apic).write_msr(0x80f, 0x1ff);
    g.out(0xcf8, 0x8000'1000, 4).in(0xcfc, 4);
    config(0x10, ~0U, 4), g.in(0xcfc, 4);
    config(0x10, bar, 4);
    config(0x04, 2, 2);
    config(0x42, 0x8000, 2);
    g.mmio_write(bar, 0xfee0'0000).mmio_write(bar + 8, 0x41).mmio_write(bar + 12, 0);
    g.mmio_write(bar + 0x800, 0x1234).mmio_read(bar + 0x800).mmio_read(bar + 8);
    g.wait().write_msr(eoi, 0).mmio_read(bar + 0x400);
    config(0x04, 6, 2), g.in(0xcfc, 2);
    config(0x04, 2, 2), g.in(0xcfc, 2);
    config(0x04, 6, 2), g.in(0xcfc, 2);
    config(0x88, 0x8000, 2), g.in(0xcfc, 2);
    config(0x04, 0, 2), g.in(0xcfc, 4);
    g.out(0xcf8, 0x8000'1010, 4).in(0xcfc, 4);
    return g.say("end ").say_sum().power_off();
}

const Remains& remains_in(const Copy& c) {
    return *reinterpret_cast<const Remains*>(c.remains.data());
}

// Handles the exits of a guest, each killed everywhere.
class Killing {
  public:
    Killing(Stage& stage) : stage_{stage} {}

    unsigned long instructions = 0, successors = 0, killed = 0;

    // The VMM has attached before, in this process: with all that it has learned from earlier exits.
    void every_instruction() {
        before_ram_.assign(stage_.ram().begin(), stage_.ram().end());
        stage_.watch_changes(before_ram_);
        stage_.use_free_input();
        const Copy before_remains = stage_.copy();
        in_child([this] { handle(); });
        expected_ = shared_->reply;
        stage_.use_free_input();
        after_ram_.assign(stage_.ram().begin(), stage_.ram().end());
        stage_.watch_changes(before_ram_);
        after_ = stage_.copy();
        std::memcpy(stage_.ram().data(), before_ram_.data(), before_ram_.size());
        const Copy pages = stage_.copy();
        before_ = {before_remains.remains, pages.pages};

        stage_.set(before_);
        Copy last = before_;
        const vmm::Exit exit = stage_.exit(false);
        const auto what = [&](unsigned long at) {
            return "exit " + std::to_string(exit.sequence) + " (" + to_text(exit.exit_class) +
                   "), instruction " + std::to_string(at);
        };
        const unsigned long length = single_step([this] { handle(); },
                                                 [&](unsigned long at) {
                                                     if (stage_.is(last)) return true;
                                                     last = stage_.copy();
                                                     const std::string wrong = succeed();
                                                     EXPECT_EQ(wrong, "") << what(at);
                                                     stage_.set(last);
                                                     ++successors;
                                                     return wrong.empty();
                                                 });
        if (testing::Test::HasFailure()) return;
        stage_.use_free_input();
        EXPECT_EQ(difference(stage_.remains(), remains_in(after_)), "") << what(length);
        instructions += length;

        // With a real kill, and a successor in the memory that it leaves.
        stage_.set(before_);
        single_step([this] { handle(); }, [&](unsigned long at) { return at < length / 2; });
        EXPECT_EQ(succeed(), "") << what(length / 2);
        EXPECT_EQ(std::memcmp(stage_.ram().data(), after_ram_.data(), after_ram_.size()), 0)
            << "guest RAM, " << what(length / 2);
        ++killed;
        stage_.set(before_);
    }

    // A successor may be killed as well while it takes over, again and again.
    void every_instruction_of_a_take_over() {
        stage_.set(after_);  // the first VMM did everything but commit
        Copy last = after_;
        single_step([] { vmm::open_machine(); },
                    [&](unsigned long at) {
                        if (stage_.is(last)) return true;
                        last = stage_.copy();
                        const std::string wrong = succeed();
                        EXPECT_EQ(wrong, "")
                            << "take-over before exit " << stage_.exit(false).sequence
                            << ", instruction " << at;
                        stage_.set(last);
                        ++successors;
                        return wrong.empty();
                    });
        stage_.set(before_);
    }

    static void in_child(const std::function<void()>& body) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            body();
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "a VMM died by itself";
    }

  private:
    void handle() { shared_->reply = vmm::the_machine().handle(stage_.exit(false)); }

    // What a successor makes of the exit.
    std::string succeed() {
        stage_.send_again();
        stage_.use_free_input();
        in_child([this] {
            vmm::open_machine();
            shared_->reply = vmm::the_machine().handle(stage_.exit(true));
        });
        stage_.use_free_input();
        const Remains& after = remains_in(after_);
        std::string wrong = difference(stage_.remains(), after);
        if (wrong.empty())
            wrong = difference(shared_->reply, stage_.remains().state, expected_, after.state);
        const Copy now = stage_.copy();
        if (wrong.empty() && now.pages != after_.pages) wrong = "guest RAM";
        return wrong;
    }

    Stage& stage_;
    Shared* shared_ = new (mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
    std::vector<std::byte> before_ram_, after_ram_;
    Copy before_, after_;
    vmm::Reply expected_;
};

void print(const char* what, const Killing& k) {
    std::printf("%s: %lu instructions, %lu different remains, %lu processes killed\n", what,
                k.instructions, k.successors, k.killed);
}

const std::vector<std::string> typed = {"hello", "0123456789abcdefXYZ"};

class Kill : public testing::Test {
  protected:
    // fresh: each exit meets a VMM that has just attached; otherwise one that has handled all before.
    void kill_everywhere(const GuestScript& guest, bool fresh) {
        Stage stage{guest, typed};
        Killing killing{stage};
        while (stage.next_exit() && !HasFailure()) {
            killing.every_instruction();
            stage.reply(vmm::the_machine().handle(stage.exit(false)));
            if (fresh) vmm::open_machine();
            for (unsigned c = 0; c < exit_classes; ++c)
                seen_[c] += stage.exits(static_cast<ExitClass>(c));
        }
        print(fresh ? "fresh" : "warm", killing);
        output_ = text_of(stage);
    }
    static std::string text_of(Stage& stage) {
        std::string text;
        for (char c; stage.remains().console.output.get(c);) text += c;
        return text;
    }
    // Without any death.
    static std::string undisturbed(const GuestScript& guest) {
        Stage stage{guest, typed};
        while (stage.next_exit()) stage.reply(vmm::the_machine().handle(stage.exit(false)));
        return text_of(stage);
    }

    unsigned long seen_[exit_classes] = {};
    std::string output_;
};

TEST_F(Kill, EveryInstructionOfEveryClassOfExit) {
    const GuestScript guest = every_class();
    kill_everywhere(guest, true);
    EXPECT_EQ(output_, undisturbed(guest));
    EXPECT_NE(output_.find("end "), std::string::npos) << "it came to its end";
    for (const ExitClass c :
         {ExitClass::startup, ExitClass::deadline, ExitClass::cpuid, ExitClass::msr,
          ExitClass::port, ExitClass::mmio, ExitClass::halt, ExitClass::hypercall,
          ExitClass::control_register, ExitClass::rdpmc, ExitClass::cache_control})
        EXPECT_NE(seen_[static_cast<unsigned>(c)], 0u) << to_text(c);
}

TEST_F(Kill, EveryInstructionWithDevices) {
    const GuestScript guest = devices();
    kill_everywhere(guest, false);
    EXPECT_EQ(output_, undisturbed(guest));
    EXPECT_TRUE(output_.ends_with("\n")) << "it came to its end";
    for (const ExitClass c :
         {ExitClass::recall, ExitClass::deadline, ExitClass::pause, ExitClass::interrupt_window})
        EXPECT_NE(seen_[static_cast<unsigned>(c)], 0u) << to_text(c);
}

TEST_F(Kill, EveryInstructionOfADriver) {
    const GuestFunctions& functions = one_function();
    const GuestScript guest = driver();
    std::string undisturbed;
    for (const bool is_killed : {false, true}) {
        Stage stage{guest, {std::string{Stage::message}}, &one_function()};
        Killing killing{stage};
        const FunctionControl& control = stage.remains().control.function[0];
        while (stage.next_exit() && !HasFailure()) {
            const std::uint64_t wanted = control.wanted;
            if (is_killed) killing.every_instruction();
            EXPECT_EQ(control.wanted, wanted);
            const vmm::Exit exit = stage.exit(false);
            const vmm::Reply reply = vmm::the_machine().handle(exit);
            EXPECT_TRUE(exit.exit_class != ExitClass::port || control.wanted == wanted)
                << "what is not committed is not asked for";
            stage.reply(reply);
        }
        EXPECT_EQ(control.wanted, 1u << function_wish::resets_shift);
        EXPECT_EQ(control.granted, control.wanted);
        const auto* const table = reinterpret_cast<const std::uint32_t*>(functions.part[0].address);
        EXPECT_EQ(table[6], 0x4001u + 50) << "the second message's data";
        if (is_killed) {
            print("driver", killing);
            EXPECT_EQ(text_of(stage), undisturbed);
        } else {
            undisturbed = text_of(stage);
            EXPECT_NE(undisturbed.find("end "), std::string::npos) << "it came to its end";
        }
    }
}

TEST_F(Kill, EveryInstructionOfAGuestsEnd) {
    GuestScript ends[3];
    ends[0].say("x").exception(6, 0);
    ends[1].say("x").triple_fault();
    ends[2].say("x").invalid_state();
    for (const GuestScript& guest : ends) kill_everywhere(guest, true);
    for (const ExitClass c : {ExitClass::exception, ExitClass::shutdown, ExitClass::invalid_state})
        EXPECT_NE(seen_[static_cast<unsigned>(c)], 0u) << to_text(c);
}

TEST_F(Kill, EveryInstructionOfATakeOver) {
    const GuestScript guest = devices();
    Stage stage{guest, typed};
    Killing killing{stage};
    for (unsigned n = 0; stage.next_exit() && !HasFailure(); ++n) {
        if (n % 9 == 0) {
            killing.every_instruction();
            killing.every_instruction_of_a_take_over();
        }
        stage.reply(vmm::the_machine().handle(stage.exit(false)));
    }
    print("take-over", killing);
}

// A layout that differs from this build's: the same sections at other places.
vmm::Layout foreign_layout() {
    static const std::vector<vmm::SectionEntry> sections = [] {
        const auto ours = vmm::vm_layout().sections;
        std::vector<vmm::SectionEntry> moved(ours.rbegin(), ours.rend());
        for (auto& section : moved) section.slot += 64;
        return moved;
    }();
    const vmm::Layout ours = vmm::vm_layout();
    return {sections, ours.fields, ours.used + 64};
}

TEST_F(Kill, ManyInstructionsOfAConversion) {
    struct Zeros final : vmm::StateDefaults {
        void reset(vmm::RegionHalf&) override {}
    } zeros;
    struct NoRam final : vmm::GuestMemory {
        std::span<std::byte> window(std::uint64_t, std::size_t) override { return {}; }
    } no_ram;
    const GuestScript guest = devices();
    Stage stage{guest, typed};
    for (unsigned n = 0; n < 90; ++n) {
        ASSERT_TRUE(stage.next_exit());
        stage.reply(vmm::the_machine().handle(stage.exit(false)));
    }
    ASSERT_TRUE(stage.next_exit());
    // A build with another layout had it last, and left an exit half handled.
    vmm::Region& region = stage.remains().region;
    ASSERT_EQ(vmm::attach(region, foreign_layout(), zeros, 0, no_ram).finding,
              vmm::Finding::foreign);
    const Copy whole = stage.copy();
    Killing::in_child([] { vmm::open_machine(); });
    const Copy expected = stage.copy();
    stage.set(whole);
    vmm::RegionHalf& half = region.active();
    const auto& uart = *std::ranges::find_if(vmm::sections_of(half), [](const auto& section) {
        return std::string_view{section.name} == "uart";
    });
    std::memcpy(live(half, uart) + uart.size, live(half, uart), uart.size);
    saved_in(half, uart) = stage.exit(false).sequence;
    live(half, uart)[3] ^= std::byte{0xff};

    Copy last = stage.copy();
    unsigned long successors = 0;
    const unsigned long length =
        single_step([] { vmm::open_machine(); },
                    [&](unsigned long at) {
                        if (at % 17 != 0 || stage.is(last)) return true;
                        last = stage.copy();
                        Killing::in_child([] { vmm::open_machine(); });
                        const std::string wrong = difference(stage.remains(), remains_in(expected));
                        EXPECT_EQ(wrong, "") << "instruction " << at;
                        stage.set(last);
                        ++successors;
                        return wrong.empty();
                    });
    EXPECT_EQ(difference(stage.remains(), remains_in(expected)), "");
    std::printf("%lu instructions, %lu different remains\n", length, successors);
}

TEST_F(Kill, TakingOverInPlaceIsCheap) {
    const GuestScript guest = devices();
    Stage stage{guest, typed};
    for (unsigned n = 0; n < 3; ++n) {
        ASSERT_TRUE(stage.next_exit());
        stage.reply(vmm::the_machine().handle(stage.exit(false)));
    }
    const unsigned long length =
        single_step([] { vmm::open_machine(); }, [](unsigned long) { return true; });
    std::printf("%lu instructions\n", length);
    EXPECT_LT(length, 15'000u);
}

}  // namespace
}  // namespace margay::host_node::kill

// Wherever the VMM is killed while it handles an exit, a successor that rolls back and handles the exit
// again comes to where an undisturbed VMM comes: device state, guest RAM, console bytes.
//
// The exits of a script are executed instruction by instruction. What a kill after an instruction leaves
// behind is what is in shared memory then, so a copy of that is taken over by a successor whenever it has
// changed: every instruction of every exit is covered without a process for each. A few are really killed.
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/state/half.hpp"
#include "tests/unit/vmm_kill/single_step.hpp"
#include "tests/unit/vmm_kill/virtual_machine.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace margay::vmm::kill {
namespace {

struct Exit {
    const char* name;
    void (*body)(Vmm&);
    const char* typed = "";  // before the exit
};

void out(Vmm& vmm, std::uint16_t port, std::uint32_t value, unsigned width = 1) {
    vmm.board().port_write(port, width, value);
}
std::uint32_t in(Vmm& vmm, std::uint16_t port, unsigned width = 1) {
    return vmm.board().port_read(port, width);
}
void write_msr(Vmm& vmm, std::uint32_t index, std::uint64_t value) {
    static_cast<void>(vmm.board().msr_write(index, value));
}
void mmio(Vmm& vmm, std::uint64_t address, std::uint32_t value) {
    vmm.board().mmio_write(address, 4, value);
}

constexpr std::uint64_t io_apic_select = 0xfec0'0000;
constexpr std::uint64_t io_apic_data = 0xfec0'0010;

// The exits' numbers are 1, 2, …: an interrupt that was offered is taken at an even one.
const Exit script[] = {
    {"scratch", [](Vmm& v) { out(v, 0x3ff, 0x55); }},
    {"line control", [](Vmm& v) { out(v, 0x3fb, 0x83); }},
    {"divisor", [](Vmm& v) { out(v, 0x3f8, 1, 2); }},
    {"line control back", [](Vmm& v) { out(v, 0x3fb, 0x03); }},
    {"send", [](Vmm& v) { out(v, 0x3f8, 'a'); }},
    {"fifo", [](Vmm& v) { out(v, 0x3fa, 0x81); }},
    {"out2", [](Vmm& v) { out(v, 0x3fc, 0x0b); }},
    {"select pin 4", [](Vmm& v) { mmio(v, io_apic_select, 0x18); }},
    {"route pin 4", [](Vmm& v) { mmio(v, io_apic_data, 0x41); }},
    {"receive interrupt", [](Vmm& v) { out(v, 0x3f9, 0x05); }},
    {"type", [](Vmm& v) { v.read_console(); }, "hello"},
    {"identify", [](Vmm& v) { static_cast<void>(in(v, 0x3fa)); }},
    {"receive", [](Vmm& v) { static_cast<void>(in(v, 0x3f8)); }},
    {"receive the rest",
     [](Vmm& v) {
         for (unsigned i = 0; i < 4; ++i) {
             static_cast<void>(in(v, 0x3f8));
         }
     }},
    {"end of interrupt", [](Vmm& v) { write_msr(v, 0x80b, 0); }},
    {"type more than there is room", [](Vmm& v) { v.read_console(); }, "0123456789abcdefXYZ"},
    {"make room, take from the ring",
     [](Vmm& v) {
         for (unsigned i = 0; i < 18; ++i) {
             static_cast<void>(in(v, 0x3f8));
         }
     }},
    {"end of interrupt", [](Vmm& v) { write_msr(v, 0x80b, 0); }},
    {"rep outsb",
     [](Vmm& v) {
         for (const char c : std::string_view{"a string, by one exit"}) {
             out(v, 0x3f8, static_cast<std::uint8_t>(c));
         }
     }},
    {"line status", [](Vmm& v) { static_cast<void>(in(v, 0x3fd)); }},
    {"loop", [](Vmm& v) { out(v, 0x3fc, 0x1b); }},
    {"send to itself", [](Vmm& v) { out(v, 0x3f8, 'z'); }},
    {"no loop", [](Vmm& v) { out(v, 0x3fc, 0x0b); }},
    {"modem status", [](Vmm& v) { static_cast<void>(in(v, 0x3fe)); }},

    {"PV EOI word", [](Vmm& v) { write_msr(v, 0x4b56'4d04, 0x1001); }},
    {"timer, one-shot", [](Vmm& v) { write_msr(v, 0x832, 0xec); }},
    {"timer, initial count", [](Vmm& v) { write_msr(v, 0x838, 100); }},
    {"deadline", [](Vmm& v) { v.board().expire(v.now_ns()); }},
    {"nothing, and the interrupt is taken", [](Vmm&) {}},
    {"nothing", [](Vmm&) {}},
    {"self IPI below, while one is assisted", [](Vmm& v) { write_msr(v, 0x83f, 0x31); }},
    {"end of interrupt", [](Vmm& v) { write_msr(v, 0x80b, 0); }},
    {"end of interrupt", [](Vmm& v) { write_msr(v, 0x80b, 0); }},
    {"self IPI", [](Vmm& v) { write_msr(v, 0x83f, 0x51); }},
    {"the PV EOI word moves while it is armed", [](Vmm& v) { write_msr(v, 0x4b56'4d04, 0x2001); }},
    {"end of interrupt", [](Vmm& v) { write_msr(v, 0x80b, 0); }},
    {"timer, periodic", [](Vmm& v) { write_msr(v, 0x832, 0x2'00ed); }},
    {"timer, initial count", [](Vmm& v) { write_msr(v, 0x838, 90); }},
    {"deadline", [](Vmm& v) { v.board().expire(v.now_ns()); }},
    {"timer, off", [](Vmm& v) { write_msr(v, 0x838, 0); }},
    {"timer, TSC deadline", [](Vmm& v) { write_msr(v, 0x832, 0x4'00ee); }},
    {"deadline in the future", [](Vmm& v) { write_msr(v, 0x6e0, 1'000'000'000); }},
    {"the TSC jumps", [](Vmm& v) { write_msr(v, 0x10, 500'000'000); }},
    {"TSC_ADJUST", [](Vmm& v) { write_msr(v, 0x3b, 12345); }},
    {"deadline in the past", [](Vmm& v) { write_msr(v, 0x6e0, 1); }},
    {"task priority", [](Vmm& v) { write_msr(v, 0x808, 0x40); }},
    {"error", [](Vmm& v) { write_msr(v, 0x83f, 0x03); }},
    {"error status", [](Vmm& v) { write_msr(v, 0x828, 0); }},
    {"NMI", [](Vmm& v) { write_msr(v, 0x830, 0x0004'0400); }},
    {"KVM clock", [](Vmm& v) { write_msr(v, 0x4b56'4d01, 0x3001); }},
    {"KVM clock again", [](Vmm& v) { write_msr(v, 0x4b56'4d01, 0x3001); }},
    {"KVM wall clock", [](Vmm& v) { write_msr(v, 0x4b56'4d00, 0x3100); }},
    {"PAT", [](Vmm& v) { write_msr(v, 0x277, 0x0007'0406'0007'0406); }},
    {"MTRR", [](Vmm& v) { write_msr(v, 0x200, 0x8000'0006); }},

    {"PIC initialise", [](Vmm& v) { out(v, 0x20, 0x11); }},
    {"PIC base", [](Vmm& v) { out(v, 0x21, 0x30); }},
    {"PIC cascade", [](Vmm& v) { out(v, 0x21, 4); }},
    {"PIC mode", [](Vmm& v) { out(v, 0x21, 1); }},
    {"PIC mask", [](Vmm& v) { out(v, 0x21, 0xee); }},
    {"PIT mode", [](Vmm& v) { out(v, 0x43, 0x34); }},
    {"PIT count", [](Vmm& v) { out(v, 0x40, 0x10); }},
    {"PIT count high", [](Vmm& v) { out(v, 0x40, 0x02); }},
    {"PIT fires", [](Vmm& v) { v.board().expire(v.now_ns()); }},
    {"PIC poll", [](Vmm& v) { out(v, 0x20, 0x0c); }},
    {"PIC answers", [](Vmm& v) { static_cast<void>(in(v, 0x20)); }},
    {"PIC end of interrupt", [](Vmm& v) { out(v, 0x20, 0x20); }},
    {"PIT latch", [](Vmm& v) { out(v, 0x43, 0x00); }},
    {"PIT low", [](Vmm& v) { static_cast<void>(in(v, 0x40)); }},
    {"PIT high", [](Vmm& v) { static_cast<void>(in(v, 0x40)); }},
    {"PIT read back", [](Vmm& v) { out(v, 0x43, 0xc2); }},
    {"PIT status", [](Vmm& v) { static_cast<void>(in(v, 0x40)); }},
    {"PIT channel 2", [](Vmm& v) { out(v, 0x43, 0xb0); }},
    {"speaker", [](Vmm& v) { out(v, 0x61, 3); }},
    {"PIT off", [](Vmm& v) { out(v, 0x43, 0x30); }},

    {"RTC register B", [](Vmm& v) { out(v, 0x70, 0x0b); }},
    {"RTC periodic", [](Vmm& v) { out(v, 0x71, 0x42); }},
    {"RTC fires", [](Vmm& v) { v.board().expire(v.now_ns()); }},
    {"RTC register C", [](Vmm& v) { out(v, 0x70, 0x0c); }},
    {"RTC read C", [](Vmm& v) { static_cast<void>(in(v, 0x71)); }},
    {"RTC memory", [](Vmm& v) { out(v, 0x70, 0x40); }},
    {"RTC memory write", [](Vmm& v) { out(v, 0x71, 0x99); }},
    {"RTC minutes", [](Vmm& v) { out(v, 0x70, 0x02); }},
    {"RTC set minutes", [](Vmm& v) { out(v, 0x71, 0x12); }},

    {"PM enable", [](Vmm& v) { out(v, 0x602, 0x0101, 2); }},
    {"power button", [](Vmm& v) { v.board().press_power_button(); }},
    {"PM status", [](Vmm& v) { static_cast<void>(in(v, 0x600, 2)); }},
    {"PM acknowledge", [](Vmm& v) { out(v, 0x600, 0x0100, 2); }},
    {"PCI address", [](Vmm& v) { out(v, 0xcf8, 0x8000'0004, 4); }},
    {"PCI command", [](Vmm& v) { out(v, 0xcfc, 0x0107, 2); }},
    {"APIC off", [](Vmm& v) { write_msr(v, 0x1b, 0xfee0'0100); }},
    {"APIC on", [](Vmm& v) { write_msr(v, 0x1b, 0xfee0'0900); }},
    {"APIC by memory", [](Vmm& v) { v.board().mmio_write(0xfee0'0080, 4, 0x20); }},
    {"last words", [](Vmm& v) { out(v, 0x3f8, '\n'); }},
};

void type(Remains& remains, const char* text) {
    for (; *text != 0; ++text) {
        static_cast<void>(remains.console.input.put(*text));
    }
}

/// What is free in the input ring is the console's, which may type on at any time.
void use_free_input(Remains& remains) {
    auto* const bytes = reinterpret_cast<char*>(&remains.console.input) + 8;
    constexpr std::uint32_t size = sizeof(remains.console.input) - 8;
    for (auto at = remains.console.input.head(); at - remains.console.input.tail() < size; ++at) {
        bytes[at % size] = '#';
    }
}

using Copy = std::unique_ptr<Remains>;

Copy copy_of(const Remains& remains) {
    Copy copy{new Remains};
    std::memcpy(static_cast<void*>(copy.get()), &remains, sizeof(Remains));
    return copy;
}

/// The first difference that counts; empty if there is none. What was saved for undoing does not count.
std::string difference(const Remains& a, const Remains& b) {
    const auto& half_a = a.region.active();
    const auto& half_b = b.region.active();
    for (const auto& section : vm_layout().sections) {
        if (std::memcmp(live(half_a, section), live(half_b, section), section.size) != 0) {
            return section.name;
        }
    }
    if (std::memcmp(a.ram, b.ram, sizeof(a.ram)) != 0) {
        return "guest RAM";
    }
    // Heads, tails and bytes.
    if (std::memcmp(static_cast<const void*>(&a.console.output), &b.console.output,
                    sizeof(a.console.output)) != 0) {
        return "console output";
    }
    if (std::memcmp(static_cast<const void*>(&a.console.input), &b.console.input,
                    sizeof(a.console.input)) != 0) {
        return "console input";
    }
    return {};
}

/// What a successor that finds `remains` makes of the exit.
std::string succeed(Remains& remains, std::uint64_t sequence, const Exit& exit,
                    const Remains& expected) {
    use_free_input(remains);
    Vmm vmm{remains, sequence};
    vmm.handle(sequence, exit.body);
    use_free_input(remains);
    return difference(remains, expected);
}

class KillTest : public ::testing::Test {
  protected:
    KillTest()
        : shared{static_cast<Remains*>(mmap(nullptr, sizeof(Remains), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0))} {}
    ~KillTest() override { munmap(shared, sizeof(Remains)); }

    void set(const Remains& from) {
        std::memcpy(static_cast<void*>(shared), &from, sizeof(Remains));
    }
    [[nodiscard]] bool is(const Remains& other) const {
        const auto bytes = [](const Remains* remains) {
            return std::string_view{reinterpret_cast<const char*>(remains), sizeof(Remains)};
        };
        return bytes(shared) == bytes(&other);
    }

    Remains* shared;
};

TEST_F(KillTest, every_instruction_of_every_exit) {
    unsigned long instructions = 0;
    unsigned long successors = 0;
    unsigned long killed = 0;
    Copy before = copy_of(*shared);
    { Vmm first{*before, 0}; }
    std::uint64_t sequence = 0;
    for (const auto& exit : script) {
        ++sequence;
        type(*before, exit.typed);
        const Copy after = copy_of(*before);
        Vmm{*after, 0}.handle(sequence, exit.body);
        use_free_input(*after);

        set(*before);
        Copy last = copy_of(*before);
        // The VMM that is to die has attached before; the child process gets a copy of it.
        Vmm victim{*shared, 0};
        const auto body = [&] { victim.handle(sequence, exit.body); };
        const auto length = single_step(body, [&](unsigned long at) {
            if (is(*last)) {
                return true;
            }
            last = copy_of(*shared);
            const Copy found = copy_of(*shared);
            const auto wrong = succeed(*found, sequence, exit, *after);
            EXPECT_EQ(wrong, "") << "exit " << sequence << " (" << exit.name << "), instruction "
                                 << at;
            ++successors;
            return wrong.empty();
        });
        if (HasFailure()) {
            return;
        }
        use_free_input(*shared);
        EXPECT_EQ(difference(*shared, *after), "") << exit.name;
        instructions += length;

        // With real kills, and a successor in the memory that they leave.
        for (unsigned long share = 1; share <= 3; ++share) {
            set(*before);
            const auto end = length * share / 4;
            single_step(body, [&](unsigned long at) { return at < end; });
            EXPECT_EQ(succeed(*shared, sequence, exit, *after), "") << exit.name << " " << end;
            ++killed;
        }
        before = copy_of(*after);
    }
    RecordProperty("instructions", std::to_string(instructions));
    std::printf("%lu instructions, %lu different remains, %lu processes killed\n", instructions,
                successors, killed);
}

// A successor may be killed as well while it attaches, again and again.
TEST_F(KillTest, every_instruction_of_a_rollback) {
    Copy before = copy_of(*shared);
    std::uint64_t sequence = 0;
    unsigned long successors = 0;
    for (const auto& exit : script) {
        ++sequence;
        type(*before, exit.typed);
        const Copy after = copy_of(*before);
        Vmm{*after, 0}.handle(sequence, exit.body);
        use_free_input(*after);
        if (sequence % 6 == 0 || std::string_view{exit.name}.starts_with("the PV")) {
            // The first VMM did everything but commit.
            set(*after);
            Copy last = copy_of(*after);
            single_step([&] { Vmm::attach_to(*shared, sequence); },
                        [&](unsigned long at) {
                            if (is(*last)) {
                                return true;
                            }
                            last = copy_of(*shared);
                            const Copy found = copy_of(*shared);
                            const auto wrong = succeed(*found, sequence, exit, *after);
                            EXPECT_EQ(wrong, "") << exit.name << ", instruction " << at;
                            ++successors;
                            return wrong.empty();
                        });
        }
        before = copy_of(*after);
    }
    std::printf("%lu different remains\n", successors);
}

TEST_F(KillTest, many_instructions_of_a_conversion) {
    struct Zeros final : StateDefaults {
        void reset(RegionHalf&) override {}
    } zeros;
    struct NoRam final : GuestMemory {
        std::span<std::byte> window(std::uint64_t, std::size_t) override { return {}; }
    } no_ram;
    Copy vm = copy_of(*shared);
    std::uint64_t sequence = 0;
    for (const auto& exit : script) {
        type(*vm, exit.typed);
        Vmm{*vm, 0}.handle(++sequence, exit.body);
    }
    // A build with another layout had it last, and left an exit half handled.
    ASSERT_EQ(attach(vm->region, foreign_layout(), zeros, 0, no_ram).finding, Finding::foreign);
    auto& half = vm->region.active();
    const auto& uart = *std::ranges::find_if(sections_of(half), [](const SectionEntry& section) {
        return std::string_view{section.name} == "uart";
    });
    const Copy expected = copy_of(*vm);
    Vmm::attach_to(*expected, 0);
    std::memcpy(live(half, uart) + uart.size, live(half, uart), uart.size);
    saved_in(half, uart) = sequence + 1;
    live(half, uart)[3] ^= std::byte{0xff};

    set(*vm);
    Copy last = copy_of(*vm);
    unsigned long successors = 0;
    const auto length = single_step([&] { Vmm::attach_to(*shared, sequence + 1); },
                                    [&](unsigned long at) {
                                        if (at % 17 != 0 || is(*last)) {
                                            return true;
                                        }
                                        last = copy_of(*shared);
                                        const Copy found = copy_of(*shared);
                                        Vmm::attach_to(*found, sequence + 1);
                                        const auto wrong = difference(*found, *expected);
                                        EXPECT_EQ(wrong, "") << "instruction " << at;
                                        ++successors;
                                        return wrong.empty();
                                    });
    EXPECT_EQ(difference(*shared, *expected), "");
    std::printf("%lu instructions, %lu different remains\n", length, successors);
}

TEST_F(KillTest, attaching_in_place_is_cheap) {
    Copy vm = copy_of(*shared);
    Vmm{*vm, 0}.handle(1, [](Vmm& v) { out(v, 0x3ff, 1); });
    set(*vm);
    const auto length =
        single_step([&] { Vmm::attach_to(*shared, 2); }, [](unsigned long) { return true; });
    std::printf("%lu instructions\n", length);
    EXPECT_LT(length, 15'000U);
}

}  // namespace
}  // namespace margay::vmm::kill

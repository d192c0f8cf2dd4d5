// The production VMM, which writes its guest's exits and its answers on its log, so that another VMM can be given
// the same exits on the host (tests/host_node/replay_test.cpp). An answer depends on the exit, the device
// state, the vCPU's state, guest RAM and the time: time stands still while an exit is handled, and what is read
// of RAM is written down before.
//
// Lines, all numbers hexadecimal:
//   @h tsc_khz tsc epoch               where it began
//   @c leaf subleaf eax ebx ecx edx    what CPUID says
//   @m address word                    of guest RAM, when it is another than at the last time
//   @s (index value)…                  words of VcpuState, likewise
//   @e class flags tsc rip detail0 detail1 rax rflags
//   @r action dirty rax vector deadline
//   @d (index value)…                  words of VcpuState in dirty groups that the VMM has changed
#include <algorithm>
#include <cstring>
#include <utility>

#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "proto/vmm.hpp"
#include "servers/vmm/emulator/instruction_length.hpp"
#include "servers/vmm/serve.hpp"
#include "servers/vmm/vm_layout.hpp"
#include "support/address.hpp"

namespace {

using namespace margay;
using namespace margay::vmm;

constexpr unsigned words_per_line = 4, line_room = 2048;
// Words of VcpuState.
constexpr unsigned rip_word = 16, tables_word = 30, control_word = 38, control_end = 43,
                   event_word = 54, state_words = 59;

std::uint64_t now = 0;

std::uint64_t real_time() {
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | static_cast<std::uint64_t>(high) << 32;
}

// The console is behind, and runs as soon as its time has come.
void wait_for_room() {
    static const auto& channel = *mapped<ConsoleChannel>(*find_startup_item("log"));
    while (channel.output.room() < line_room) asm volatile("pause");
}

template <typename... Arguments>
void say(std::string_view format, const Arguments&... arguments) {
    wait_for_room();
    log(format, arguments...);
}

// Words of VcpuState, several in a line.
class Words {
  public:
    explicit Words(char kind) : kind_{kind} {}
    ~Words() {
        if (count_ != 0) log("\n");
    }
    Words(const Words&) = delete;
    Words& operator=(const Words&) = delete;

    void add(unsigned index, std::uint64_t value) {
        if (count_ == words_per_line) log("\n"), count_ = 0;
        if (count_ == 0) say("@{}", kind_);
        log(" {x} {x}", index, value);
        ++count_;
    }

  private:
    char kind_;
    unsigned count_ = 0;
};

// Guest RAM, and everything that is looked at is written down.
class WatchedRam final : public GuestMemory {
  public:
    explicit WatchedRam(GuestMemory& ram) : ram_{ram} {}

    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        const auto window = ram_.window(gpa, length);
        // A whole page is asked for once, to read code from it.
        if (length == page_size) gpa += code_in_page, length = code_bytes;
        const std::uint64_t end =
            window.empty() ? 0 : std::min(gpa + length, align_up(gpa + 1, page_size));
        for (std::uint64_t at = gpa & ~7ull; at < end; at += 8) note(at);
        return window;
    }

    // The VMM has written there itself.
    void follow(std::uint64_t gpa) {
        Known& k = known_[gpa / 8 % std::size(known_)];
        const auto window = ram_.window(gpa & ~7ull, 8);
        if (k.gpa == (gpa & ~7ull) && window.size() == 8) std::memcpy(&k.value, window.data(), 8);
    }
    std::uint64_t code_in_page = 0;  // where the instruction lies

  private:
    static constexpr std::size_t code_bytes = 16;
    void note(std::uint64_t gpa) {
        const auto window = ram_.window(gpa, 8);
        if (window.size() != 8) return;
        std::uint64_t value;
        std::memcpy(&value, window.data(), 8);
        Known& k = known_[gpa / 8 % std::size(known_)];
        if (k.gpa == gpa && k.value == value) return;
        k = {gpa, value};
        say("@m {x} {x}\n", gpa, value);
    }
    struct Known {
        std::uint64_t gpa = ~0ull, value = 0;
    };
    GuestMemory& ram_;
    Known known_[4096];
};

// Nothing happens there.
struct NoBus final : Bus {
    std::uint64_t mmio_read(std::uint64_t, unsigned) override { return 0; }
    void mmio_write(std::uint64_t, unsigned, std::uint64_t) override {}
    std::uint32_t port_read(std::uint16_t, unsigned) override { return 0; }
    void port_write(std::uint16_t, unsigned, std::uint32_t) override {}
};

const StartupItem& item(std::string_view name) { return *find_startup_item(name); }

class Recorder {
  public:
    Recorder()
        : ram_{mapped<std::byte>(item("ram")), item("ram").size},
          watched_{ram_},
          state_{*mapped<VcpuState>(item("state"))},
          region_{*mapped<Region>(item("devices"))} {}

    void before(const Exit& e) {
        now = real_time();
        if (needs_registers(e) || needs_length(e)) {
            constexpr std::uint64_t groups = state::gpr_low | state::gpr_mid | state::gpr_high |
                                             state::rip | state::rflags | state::segments |
                                             state::control;
            (void)vcpu_ctl(item("vcpu").slot, VcpuOp::read_state, groups);
            note_state(needs_registers(e) ? 0 : rip_word);
            note_memory(e);
        }
        // The guest's word for the end of an interrupt, which it clears without an exit.
        const auto& apic = vm_state(region_.active()).cpu.local_apic.live;
        eoi_word_ = (apic.eoi_assist & 1) != 0 ? apic.eoi_assist & ~3ull : 0;
        if (eoi_word_ != 0) (void)watched_.window(eoi_word_, 4);
        say("@e {x} {x} {x} {x} {x} {x} {x} {x}\n", static_cast<unsigned>(e.exit_class), e.flags,
            now, e.rip, e.detail0, e.detail1, e.rax, e.rflags);
        std::memcpy(before_, &state_, sizeof(before_));
    }

    void after(const Exit& e, const Reply& r) {
        say("@r {x} {x} {x} {x} {x}\n", static_cast<std::uint64_t>(r.action), r.dirty, r.rax,
            r.vector, r.deadline);
        if (eoi_word_ != 0) watched_.follow(eoi_word_);
        if (e.exit_class == ExitClass::startup) return;
        std::uint64_t words[state_words];
        std::memcpy(words, &state_, sizeof(words));
        Words changed{'d'};
        for (unsigned i = 0; i < state_words; ++i)
            if ((r.dirty & group_of(i)) != 0 && (words[i] != before_[i] || i == event_word))
                changed.add(i, words[i]);
    }

  private:
    static std::uint64_t group_of(unsigned word) {
        constexpr struct {
            unsigned end;
            std::uint64_t group;
        } groups[] = {{4, state::gpr_low},      {8, state::gpr_mid},     {16, state::gpr_high},
                      {17, state::rip},         {18, state::rflags},     {30, state::segments},
                      {38, state::tables},      {43, state::control},    {45, state::debug},
                      {53, state::system_msrs}, {54, state::pat},        {55, state::event},
                      {57, state::intercepts},  {58, state::tsc_offset}, {59, state::shadow}};
        for (const auto& g : groups)
            if (word < g.end) return g.group;
        return 0;
    }
    static bool needs_registers(const Exit& e) {
        switch (e.exit_class) {
        case ExitClass::mmio:
        case ExitClass::control_register: return true;
        case ExitClass::port: return (e.detail0 & port_access::string) != 0;
        case ExitClass::msr: return (e.detail0 & 0xffff'ffff) == 0xc000'0080;  // EFER
        default: return false;
        }
    }
    // Where an instruction was looked at once it is as long as it was.
    bool needs_length(const Exit& e) {
        if ((e.flags & exit_flag::length_assumed) == 0) return false;
        std::uint64_t& place = measured_[e.rip % std::size(measured_)];
        return std::exchange(place, e.rip) != e.rip;
    }
    // What the emulator and the decoder read: general registers, RIP, RFLAGS, segments; CR0 to EFER.
    void note_state(unsigned first) {
        std::uint64_t words[state_words];
        std::memcpy(words, &state_, sizeof(words));
        Words changed{'s'};
        for (unsigned i = first; i < control_end; ++i)
            if (words[i] != noted_[i] && (i < tables_word || i >= control_word))
                changed.add(i, noted_[i] = words[i]);
    }
    // What the VMM is going to read, found by doing the same without consequences.
    void note_memory(const Exit& e) {
        static VcpuState copy;
        watched_.code_in_page = e.rip % page_size;
        std::memcpy(static_cast<void*>(&copy), &state_, sizeof(copy));
        if (e.exit_class == ExitClass::mmio) {
            NoBus bus;
            static Emulator emulator{watched_, bus};
            emulator.forget();
            (void)emulator.mmio(copy, e.detail0, e.detail1);
        } else {
            (void)decode_length(watched_, copy);
        }
    }

    GuestRam ram_;
    WatchedRam watched_;
    const VcpuState& state_;
    Region& region_;
    std::uint64_t before_[state_words] = {};
    std::uint64_t noted_[state_words] = {};
    std::uint64_t measured_[1024] = {};
    std::uint64_t eoi_word_ = 0;
};

struct Hook {
    void before(const Exit& e) const { recorder().before(e); }
    void after(const Exit& e, const Reply& r) const { recorder().after(e, r); }
    static Recorder& recorder() {
        static Recorder r;
        return r;
    }
};

}  // namespace

namespace margay::raw {

std::uint64_t rdtsc() { return now; }

Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    Cpuid r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    say("@c {x} {x} {x} {x} {x} {x}\n", leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
    return r;
}

}  // namespace margay::raw

void program_main(std::uint64_t argument) {
    open_startup_log();
    now = real_time();
    say("@h {x} {x} {x}\n", startup().tsc_khz, now, item("epoch").value);
    Hook hook;
    serve(hook, argument);
}

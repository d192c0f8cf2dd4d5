// The exits of a real Linux boot, given to the VMM once more: in the order, at the times and with the registers and
// memory of the recording. Each answer must be the recorded one, whoever gives it: the VMM that has seen the whole
// run, or one that has just taken over from a dead one.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/host_node/node.hpp"
#include "tests/host_node/recording.hpp"
#include "tests/host_node/scripts.hpp"
#include "tests/host_node/shared_memory.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/space.hpp"

namespace margay::host_node {
namespace {

constexpr const char* manifest =
    R"({"vms": [{"name": "test", "memory_mib": 128, "kernel": "kernel", "core": 1,
                 "restart_limit": 1000000}], "test_exit_port": 244})";
constexpr unsigned first_event_word = 54;

const Recording& linux_boot() {
    static const Recording recording = Recording::read(MARGAY_RECORDINGS "/linux_boot.txt");
    return recording;
}

// A guest that does what was recorded.
class Replay {
  public:
    explicit Replay(const Recording& recording)
        : recording_{recording},
          node{{.manifest = manifest,
                .guests = {{"kernel", &kernel_}},
                .ram = 176 << 20,
                .tsc_khz = recording.tsc_khz,
                .clock = static_cast<std::int64_t>(recording.epoch)}},
          time_{recording.begin} {
        // What CPUID offered there: SMEP, SMAP, UMIP, FSGSBASE.
        machine::now.guest_cr4 |= 1 << 20 | 1 << 21 | 1 << 11 | 1 << 16;
        // So slow that the machine's own time never gets ahead of the recorded one.
        node.cores.step_ticks = node.cores.look_ticks = 1;
        node.cores.guest = [this](Vcpu& v) { run(v); };
        node.cores.guest_entry = [](Vcpu& v) { take_injected(v); };
        node.cores.time_of = [this](const Thread& t) {
            return is_vmm(t) ? std::optional{time_} : std::nullopt;
        };
        node.cores.processor_of = [this](const Thread& t, std::uint32_t leaf, std::uint32_t sub) {
            const auto found = recording_.processor.find({leaf, sub});
            if (!is_vmm(t) || found == recording_.processor.end())
                return std::optional<raw::Cpuid>{};
            raw::Cpuid r = found->second;
            // The VMM that was recorded showed no XSAVE.
            if (leaf == 1) r.ecx &= ~(1u << 26);
            return std::optional{r};
        };
        node.fate = [this](const VmmMoment& m) {
            time_ = recording_.exits.at(m.sequence - 1).tsc;
            return fate ? fate(m) : VmmFate::go_on;
        };
        node.answered = [this](const VmmAnswer& a) { check(a); };
        machine::now.injects_twice = true;  // it was recorded on such a machine
    }

    std::function<VmmFate(const VmmMoment&)> fate;
    std::uint64_t answers = 0;

  private:
    static bool is_vmm(const Thread& t) { return std::string_view{t.domain->name} == "test"; }

    static void take_injected(Vcpu& v) { v.guest.vmcb->event_injection &= ~vmcb::event_valid; }

    void run(Vcpu& v) {
        take_injected(v);
        const RecordedExit& e = recording_.exits.at(v.sequence);
        Vmcb& c = *v.guest.vmcb;
        c.exit_info1 = c.exit_info2 = c.exit_int_info = 0;
        if (e.exit_class == static_cast<std::uint64_t>(ExitClass::deadline)) {
            // It works until its time has come.
            const unsigned core = 1;
            if (machine::now.timer[core] > machine::now.tsc)
                machine::now.tsc = machine::now.timer[core];
            c.exit_code = vmcb::exit_intr;
            return;
        }
        for (const auto& [address, word] : e.memory) {
            const auto leaf = v.space->tables().lookup(address);
            ASSERT_TRUE(leaf.has_value());
            std::memcpy(direct<void>(leaf->physical), &word, sizeof(word));
        }
        for (const auto& [index, word] : e.state) words_[index] = word;
        if (!e.state.empty()) {
            std::memcpy(static_cast<void*>(v.page), words_, sizeof(words_));
            constexpr std::uint64_t groups =
                state::all & ~(state::event | state::intercepts | state::tsc_offset |
                               state::shadow | state::instruction);
            ASSERT_EQ(backend::load_state(v, groups), Status::ok);
        }
        c.rip = e.rip, c.rax = e.rax, c.rflags = e.rflags;
        c.interrupt_shadow = (e.flags & exit_flag::shadow) != 0 ? 1 : 0;
        if ((e.flags & exit_flag::irq_pending) == 0) c.virtual_interrupt &= ~vmcb::v_irq;
        ASSERT_EQ(e.flags & exit_flag::delivering, 0u);
        exit(v, e);
    }

    // What the processor says (AMD APM vol. 2 appendix C).
    static void exit(Vcpu& v, const RecordedExit& e) {
        Vmcb& c = *v.guest.vmcb;
        const std::uint64_t d0 = e.detail0, d1 = e.detail1;
        switch (static_cast<ExitClass>(e.exit_class)) {
        case ExitClass::port:
            c.exit_code = vmcb::exit_io;
            c.exit_info1 =
                (d0 & port_access::port_mask) << 16 | (d0 >> port_access::width_shift & 7) << 4 |
                ((d0 & port_access::in) != 0 ? 1 : 0) | ((d0 & port_access::string) != 0 ? 4 : 0) |
                ((d0 & port_access::rep) != 0 ? 8 : 0);
            c.exit_info2 = d1;
            break;
        case ExitClass::mmio:
            c.exit_code = vmcb::exit_npf, c.exit_info1 = d1, c.exit_info2 = d0;
            break;
        case ExitClass::cpuid: c.exit_code = vmcb::exit_cpuid, v.gpr[gpr_rcx] = d1; break;
        case ExitClass::msr:
            c.exit_code = vmcb::exit_msr, c.exit_info1 = d0 >> 32 & 1;
            v.gpr[gpr_rcx] = d0 & 0xffff'ffff;
            if (c.exit_info1 != 0) v.gpr[gpr_rdx] = d1 >> 32;
            break;
        case ExitClass::control_register:
            c.exit_code = ((d0 & 0x100) != 0 ? vmcb::cr_write_0 : vmcb::cr_read_0) + (d0 & 15);
            c.exit_info1 = d1;
            break;
        case ExitClass::hypercall: c.exit_code = vmcb::exit_vmmcall, v.gpr[gpr_rbx] = d1; break;
        case ExitClass::halt: c.exit_code = vmcb::exit_hlt; break;
        case ExitClass::interrupt_window: c.exit_code = vmcb::exit_vintr; break;
        case ExitClass::cache_control:
            c.exit_code = d0 != 0 ? vmcb::exit_wbinvd : vmcb::exit_invd;
            break;
        default: throw machine::Panic{"a recorded exit of a class that is not replayed"};
        }
    }

    // The exit is the recorded one, and the answer is.
    void check(const VmmAnswer& a) {
        ++answers;
        if (testing::Test::HasFailure()) return;
        const RecordedExit& e = recording_.exits.at(a.sequence - 1);
        const std::string where = "exit " + std::to_string(a.sequence);
        EXPECT_EQ(a.exit_class, e.exit_class) << where;
        EXPECT_EQ(a.action, e.action) << where;
        // Where a guest starts depends on its kernel, which is another here.
        if (a.exit_class == static_cast<std::uint64_t>(ExitClass::startup)) return;
        EXPECT_EQ(a.flags & ~exit_flag::replayed, e.flags) << where;
        if (a.exit_class != static_cast<std::uint64_t>(ExitClass::deadline)) {
            EXPECT_EQ(a.rip, e.rip) << where;
            // Of CPUID, what the guest asked: recordings may be older than the registers beside it.
            const bool asks = a.exit_class == static_cast<std::uint64_t>(ExitClass::cpuid);
            const std::uint64_t counts = asks ? 0xffff'ffff : ~0ull;
            EXPECT_EQ(a.detail0 & counts, e.detail0 & counts) << where;
            EXPECT_EQ(a.detail1 & counts, e.detail1 & counts) << where;
        }
        EXPECT_EQ(a.dirty, e.dirty) << where;
        const auto told = [&](std::uint64_t word, std::uint64_t value) {
            return (e.dirty & word) != 0 ? value : 0;
        };
        EXPECT_EQ(told(state::rax_word, a.result), e.result) << where;
        EXPECT_EQ(told(state::irq_word, a.vector), told(state::irq_word, e.vector)) << where;
        EXPECT_EQ(told(state::deadline_word, a.deadline), told(state::deadline_word, e.deadline))
            << where;
        const auto page = SharedMemory::of(*Cores::this_thread().domain).state;
        for (const auto& [index, word] : e.changed) {
            std::uint64_t now = 0;
            std::memcpy(&now, &page[8 * index], sizeof(now));
            EXPECT_EQ(now, word) << where << ", word " << index << " of the state";
        }
    }

    const Recording& recording_;
    GuestScript kernel_ = GuestScript{}.power_off();
    std::uint64_t words_[first_event_word] = {};

  public:
    Node node;

  private:
    std::uint64_t time_;
};

void expect_the_recorded_end(Replay& replay) {
    EXPECT_TRUE(replay.node.run()) << replay.node.logs.sent;
    EXPECT_TRUE(replay.node.ended_well()) << replay.node.logs.sent;
    EXPECT_GE(replay.answers, linux_boot().exits.size());
    EXPECT_NE(replay.node.logs.sent.find("guest test powered off after " +
                                         std::to_string(linux_boot().exits.size()) + " exits"),
              std::string::npos)
        << replay.node.logs.sent;
    EXPECT_NE(replay.node.terminal.sent.find("recorded\r\n"), std::string::npos)
        << replay.node.terminal.sent;
}

TEST(Replay, EveryAnswerIsTheRecordedOne) {
    ASSERT_GT(linux_boot().exits.size(), 2000u);
    Replay replay{linux_boot()};
    expect_the_recorded_end(replay);
    EXPECT_EQ(replay.answers, linux_boot().exits.size());
}

// Before exits and behind them, at places that differ from run to run.
class ReplayWithDeaths : public testing::TestWithParam<std::uint64_t> {};

TEST_P(ReplayWithDeaths, TheAnswersAreTheSame) {
    Replay replay{linux_boot()};
    std::mt19937_64 random{GetParam()};
    unsigned deaths = 0;
    bool within = false;
    replay.fate = [&](const VmmMoment& m) {
        if (m.after && within) {
            // It had fewer blocks.
            within = false;
            blocks_left() = 0;
            return ++deaths, VmmFate::die;
        }
        within = false;
        if (m.replayed || random() % 100 != 0) return VmmFate::go_on;
        if (m.after || random() % 3 == 0) return ++deaths, VmmFate::die;
        within = true;
        blocks_left() = random() % 80 + 1;
        return VmmFate::go_on;
    };
    expect_the_recorded_end(replay);
    EXPECT_GT(deaths, 10u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, ReplayWithDeaths, testing::Range<std::uint64_t>(1, 3));

}  // namespace
}  // namespace margay::host_node

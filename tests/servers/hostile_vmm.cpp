// A hostile VMM: replies with random state, random groups and random actions, and calls what it may. The
// kernel must survive all of it, and so must the other guests. vmm_options: fuzz=SEED rounds=N. With overrule it
// tries instead to do what only its supervisor may: let its vCPU go on, move its death event, bind its rows. With
// endless_reason or runaway_ring it leaves nonsense in memory that the supervisor and the console read. With news,
// storm or bells it signals the supervisor or the console without end, once it serves or before that; with spin it
// says that it serves, and never does.
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "libipc/system_call.hpp"
#include "proto/vcpu_state.hpp"
#include "proto/vm_control.hpp"
#include "proto/vmm.hpp"
#include "support/options.hpp"

using namespace margay;

namespace {

// A guest in long mode, from which random changes lead astray. Its page tables are what RAM holds.
VcpuState good_state() {
    VcpuState s{};
    s.rflags = 2;
    s.cs = {8, 0xa9b, 0xffffffff, 0};
    s.ss = s.ds = s.es = s.fs = s.gs = SegmentState{16, 0xc93, 0xffffffff, 0};
    s.tr = {24, 0x8b, 0x67, 0};
    s.ldtr = {0, 0x82, 0, 0};
    s.cr0 = 0x80010031, s.cr4 = 0x20, s.efer = 0x500, s.cr3 = 0x1000;
    s.dr6 = 0xffff0ff0, s.dr7 = 0x400, s.pat = 0x0007040600070406;
    return s;
}

struct Random {
    std::uint64_t x;
    std::uint64_t operator()() {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        return x;
    }
};

void spoil(VcpuState& state, Random& random) {
    auto* words = reinterpret_cast<std::uint64_t*>(&state);
    constexpr unsigned count = offsetof(VcpuState, instruction_length) / 8;
    for (std::uint64_t n = random() % 12; n != 0; --n) {
        std::uint64_t& word = words[random() % count];
        switch (random() % 4) {
        case 0: word = random(); break;
        case 1: word ^= 1ull << random() % 64; break;
        case 2: word = ~0ull; break;
        default: word = 0; break;
        }
    }
}

// Goes to sleep for a millisecond at each exit, and tries everything meanwhile.
std::uint64_t overrule(Slot vcpu, Slot event, std::uint64_t rounds, Received& got) {
    std::uint64_t granted = 0;
    for (std::uint64_t n = 0; n < rounds; ++n) {
        const std::uint64_t before = granted;
        for (const VcpuOp op :
             {VcpuOp::bind_row, VcpuOp::bind_event, VcpuOp::start, VcpuOp::recall, VcpuOp::suspend,
              VcpuOp::resume, VcpuOp::set_death_event, VcpuOp::bind_policy}) {
            const std::uint64_t first = op == VcpuOp::set_death_event ? event : no_slot;
            if (vcpu_ctl(vcpu, op, first, ~0ull) != Status::no_right) ++granted;
        }
        if (granted != before || !query_vcpu(vcpu) ||
            vcpu_ctl(vcpu, VcpuOp::read_state, state::gpr_low) != Status::ok)
            log("overrule: not as it should be in round {}\n", n);
        got = reply_wait(
            {static_cast<std::uint64_t>(Action::park),
             {got.message.words[0], state::deadline_word, 0, 0, rdtsc() + startup().tsc_khz}});
    }
    return granted;
}

// Its page is one text without an end, and says so with what clears a terminal.
[[noreturn]] void refuse_without_end(VmControl& control, const StartupItem& supervisor) {
    auto* page = reinterpret_cast<volatile char*>(&control);
    for (std::uint64_t i = offsetof(VmControl, reason); i < page_size; ++i)
        page[i] = "\x1b[2J\n"[i % 5];
    control.phase.store(VmmPhase::refused);
    (void)signal(supervisor.slot, supervisor.value);
    for (;;) (void)reply_wait({});
}

// One store puts the heads of its rings far beyond their ends; then it is gone.
[[noreturn]] void run_away(const StartupItem& console) {
    for (const std::uint64_t at : {vmm_log_address, vmm_console_address}) {
        auto* head = reinterpret_cast<volatile std::uint32_t*>(at);
        *head = *head + 0x8000'0000;
    }
    (void)signal(console.slot, console.value);
    __builtin_trap();
}

// Rings for nothing, as fast as it can.
[[noreturn]] void ring_without_end(const StartupItem& bell) {
    for (;;) (void)signal(bell.slot, bell.value);
}

// Serves, and signals for 200 ms within each exit, which is not long enough to be taken to hang. The guest sleeps for a
// millisecond in between.
[[noreturn]] void serve_noisily(const StartupItem& bell) {
    const std::uint64_t khz = startup().tsc_khz;
    Received got = reply_wait({});
    for (;;) {
        for (const std::uint64_t end = rdtsc() + 200 * khz; rdtsc() < end;)
            (void)signal(bell.slot, bell.value);
        got = reply_wait({static_cast<std::uint64_t>(Action::park),
                          {got.message.words[0], state::deadline_word, 0, 0, rdtsc() + khz}});
    }
}

}  // namespace

void program_main(std::uint64_t) {
    open_startup_log();
    const std::string_view options{
        reinterpret_cast<const char*>(vmm_append_address + vmm_options_offset)};
    auto& control = *reinterpret_cast<VmControl*>(vmm_control_address);
    auto& state = *reinterpret_cast<VcpuState*>(vmm_state_address);
    const StartupItem* supervisor = find_startup_item("supervisor");
    const StartupItem* console = find_startup_item("console");
    const Slot vcpu = find_startup_item("vcpu")->slot;
    if (find_option(options, "endless_reason")) refuse_without_end(control, *supervisor);
    if (find_option(options, "runaway_ring")) run_away(*console);
    if (find_option(options, "storm")) ring_without_end(*console);
    if (find_option(options, "spin")) {
        control.phase.store(VmmPhase::serving);
        for (;;) asm volatile("pause");
    }
    const std::uint64_t rounds = find_number(options, "rounds").value_or(1000);
    Random random{find_number(options, "fuzz").value_or(0) * 0x9e3779b97f4a7c15 + 1};
    control.phase.store(VmmPhase::serving);
    (void)signal(supervisor->slot, supervisor->value);
    if (find_option(options, "news")) serve_noisily(*supervisor);
    if (find_option(options, "bells")) serve_noisily(*console);

    const VcpuState good = good_state();
    std::uint64_t classes[exit_classes] = {}, refused = 0, sequence = 0;
    Received got = reply_wait({});
    const bool overrules = find_option(options, "overrule").has_value();
    if (overrules)
        log("overrule: {} rounds, granted {}\n", rounds,
            overrule(vcpu, console->slot, rounds, got));
    for (std::uint64_t n = 0; n < rounds && !overrules; ++n) {
        if (got.status == Status::ok) {
            sequence = got.message.words[0];
            ++classes[(got.message.label & 0xff) % exit_classes];
        } else {
            ++refused;
        }
        state = good;
        spoil(state, random);
        constexpr std::uint64_t all = state::all & ~state::instruction;
        const bool whole = n == 0 || random() % 3 != 0;
        const std::uint64_t dirty =
            (whole ? all : random() & state::valid_reply) | state::deadline_word;
        constexpr Action actions[] = {Action::advance, Action::park, Action::park_advance};
        const Action action = random() % 8 == 0 ? actions[random() % 3] : Action::resume;
        if (random() % 16 == 0) {
            constexpr VcpuOp ops[] = {VcpuOp::recall, VcpuOp::read_state, VcpuOp::query,
                                      VcpuOp::bind_event};
            (void)vcpu_ctl(vcpu, ops[random() % 4], random() % 32,
                           random() % 4 != 0 ? no_slot : console->slot, random());
        }
        // Half a millisecond, so that a guest that loops gives way.
        got = reply_wait(
            {static_cast<std::uint64_t>(action),
             {sequence, dirty, random(), random() % 300, rdtsc() + startup().tsc_khz / 2}});
    }
    if (!overrules)
        log("fuzz: {} rounds, refused {}, recall {} deadline {} mmio {} exception {} shutdown {} "
            "invalid {}\n",
            rounds, refused, classes[1], classes[2], classes[6], classes[10], classes[13],
            classes[14]);
    control.outcome.store(VmOutcome::powered_off);
    for (;;) {
        if (got.status == Status::ok) sequence = got.message.words[0];
        got = reply_wait({static_cast<std::uint64_t>(Action::stop), {sequence}});
    }
}

// A VMM that fails on request: the production VMM, and a hook around each exit. What it does stands in
// the manifest's vmm_options:
//
//   every=N offset=K   dies at every exit whose number is K modulo N, once at each
//   late               dies behind the handler, just before the reply; otherwise before it
//   depth=D seed=S     dies in the handler, at its n-th basic block; n is random, 1 to D. If the handler
//                      has fewer, behind it
//   hang=S             never answers exit S, if it is the first to see it
//   corrupt=S          fills its own data with garbage at exit S, if it is the first to see it
//   scribble=S         writes over what it has of CPUID at exit S and dies, if it is the first to see it
//   spoil=S            likewise, and leaves values that no device can have
//   deadly=S           dies at exit S, every time
//   hypercall=N        dies at each hypercall N, once at each
//   start              dies before it serves
//   slow=M             takes M milliseconds for the first 4 MiB of the guest's files
#include <cstring>

#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "proto/vmm.hpp"
#include "servers/vmm/serve.hpp"
#include "servers/vmm/vm_layout.hpp"
#include "support/options.hpp"

namespace {

using namespace margay;
using namespace margay::vmm;

std::uint64_t blocks_left = 0;  // until death; 0: it is not due
std::uint64_t dying = 0;        // which thread: its stack

// Threads have their stacks a megabyte apart, at least.
[[gnu::no_sanitize_coverage, gnu::always_inline]] inline std::uint64_t this_stack() {
    return reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)) >> 20;
}

[[noreturn]] void die() { __builtin_trap(); }

std::uint64_t mix(std::uint64_t x) {
    x = (x ^ x >> 31) * 0x9e37'79b9'7f4a'7c15;
    return x ^ x >> 29;
}

struct Faults {
    std::uint64_t every = 0, offset = 0, depth = 0, seed = 0, hang = 0, corrupt = 0, deadly = 0,
                  scribble = 0, spoil = 0, hypercall = 0;
    bool late = false;

    explicit Faults(std::string_view line)
        : every{find_number(line, "every").value_or(0)},
          offset{find_number(line, "offset").value_or(0)},
          depth{find_number(line, "depth").value_or(0)},
          seed{find_number(line, "seed").value_or(0)},
          hang{find_number(line, "hang").value_or(0)},
          corrupt{find_number(line, "corrupt").value_or(0)},
          deadly{find_number(line, "deadly").value_or(0)},
          scribble{find_number(line, "scribble").value_or(0)},
          spoil{find_number(line, "spoil").value_or(0)},
          hypercall{find_number(line, "hypercall").value_or(0)},
          late{find_option(line, "late").has_value()} {}

    bool dies_at(const Exit& e) const {
        return every != 0 && (e.flags & exit_flag::replayed) == 0 && e.sequence % every == offset;
    }
    void before(const Exit& e) const {
        if (e.sequence == deadly && deadly != 0) die();
        if ((e.flags & exit_flag::replayed) != 0) return;
        if (e.sequence == hang)
            for (;;) asm volatile("pause");
        // Pointers that lead nowhere: not even canonical.
        if (e.sequence == corrupt)
            std::memset(static_cast<void*>(&the_machine()), 0xa5, sizeof(Machine));
        if (e.sequence == scribble || e.sequence == spoil) ruin_state(e.sequence == spoil), die();
        if (hypercall != 0 && e.exit_class == ExitClass::hypercall && e.detail0 == hypercall) die();
        if (!dies_at(e)) return;
        if (depth != 0)
            dying = this_stack(), blocks_left = mix(e.sequence + seed * 0x1'0001) % depth + 1;
        else if (!late)
            die();
    }
    static void ruin_state(bool hopelessly) {
        VmState& s = vm_state(mapped<Region>(*find_startup_item("devices"))->active());
        std::memset(static_cast<void*>(&s.board.cpuid.live), 0xa5, sizeof(s.board.cpuid.live) / 2);
        if (hopelessly) std::memset(static_cast<void*>(&s.board.rtc.live), 0xff, 64);
    }
    void after(const Exit& e, Reply&) const {
        if ((blocks_left != 0 && dying == this_stack()) || (late && dies_at(e))) die();
    }
};

// They are not moved yet, but counted.
void start_slowly(std::uint64_t ms) {
    constexpr std::uint64_t steps = 16, step_bytes = 256 << 10;
    auto& control = *mapped<VmControl>(*find_startup_item("control"));
    for (std::uint64_t i = 0; i < steps; ++i) {
        const std::uint64_t end = rdtsc() + startup().tsc_khz * ms / steps;
        while (rdtsc() < end) asm volatile("pause");
        control.placed.fetch_add(step_bytes);
    }
}

}  // namespace

// The compiler calls it at the beginning of each basic block.
extern "C" [[gnu::no_sanitize_coverage]] void __sanitizer_cov_trace_pc() {
    if (blocks_left != 0 && dying == this_stack() && --blocks_left == 0) die();
}

void program_main(std::uint64_t argument) {
    const StartupItem* append = find_startup_item("append");
    const std::string_view options{mapped<const char>(*append) + vmm_options_offset};
    if (argument % page_size == 0) {
        if (find_option(options, "start")) die();
        if (const auto ms = find_number(options, "slow")) start_slowly(*ms);
    }
    Faults faults{options};
    serve(faults, argument);
}

// Measures, as the guest sees it, what it costs that its VMM dies or is replaced: exits in a tight loop,
// the time-stamp counter around each. Options on the command line:
//
//   what=NAME   what happens to the VMM: the figures are vmm_blackout_NAME and so on
//   exits=N     so many exits, or fewer: a byte typed on the guest's console ends the loop
//
// The blackout is what an exit waits that finds no VMM. In a planned swap the loading of the successor comes
// before: it takes the core while the old VMM still serves. The longest interruption of all until the
// successor serves is `interruption`. The burial is the longest interruption after that, when the dead VMM's memory is taken
// back and the console prints the report of its death.
#include "support/options.hpp"
#include "tests/guests/guest.hpp"

using namespace margay;
using namespace margay::guest;

namespace {

constexpr unsigned warm_up = 1000;
// What takes that many times the median is no exit like the others.
constexpr std::uint64_t gap_factor = 20;
// The supervisor leaves the core alone for 500 us once the successor serves: gaps with less than this
// between them are the blackout, those behind it the burial of the dead VMM.
constexpr std::uint64_t blackout_pause = 400'000;
// With more than this between them they have different causes.
constexpr std::uint64_t quiet = 2'000'000;
constexpr unsigned max_gaps = 1000;

struct Gap {
    std::uint64_t begin, ticks;
};
Gap gaps[max_gaps];
unsigned gap_count = 0;

std::uint64_t samples[max_gaps];

std::uint64_t median(unsigned count) {
    for (unsigned i = 1; i < count; ++i) {
        const std::uint64_t v = samples[i];
        unsigned k = i;
        for (; k > 0 && samples[k - 1] > v; --k) samples[k] = samples[k - 1];
        samples[k] = v;
    }
    return count == 0 ? 0 : samples[count / 2];
}

std::uint64_t exit_ticks(std::uint64_t begin) {
    out8(0x3ff, 0x55);  // UART scratch register
    return rdtsc() - begin;
}

void exit_until_told(std::uint64_t exits, std::uint64_t usual) {
    for (std::uint64_t i = 0; i < exits && gap_count < max_gaps; ++i) {
        const std::uint64_t begin = rdtsc();
        const std::uint64_t ticks = exit_ticks(begin);
        if (ticks > gap_factor * usual) [[unlikely]]
            gaps[gap_count++] = {begin, ticks};
        if (i % 256 == 0 && (in8(0x3fd) & 1) != 0) return;
    }
}

void report(std::string_view what, std::uint64_t usual) {
    std::uint64_t interruption = 0, unserved = 0, longest = 0, last = 0, burial = 0, end = 0;
    unsigned events = 0;
    bool buries = false;
    for (unsigned i = 0; i < gap_count; ++i) {
        const std::uint64_t pause = gaps[i].begin - end, ticks = gaps[i].ticks - usual;
        end = gaps[i].begin + gaps[i].ticks;
        if (i == 0 || pause > quiet) {
            buries = false;
            longest = 0;
        } else if (pause > blackout_pause && !buries) {
            // What has no burial was something else, such as an answer on the operator's line.
            buries = true;
            samples[events++] = longest;
            if (last > unserved) unserved = last;
            if (longest > interruption) interruption = longest;
        }
        last = ticks;
        if (buries && ticks > burial) burial = ticks;
        if (ticks > longest) longest = ticks;
    }
    say("bench: vmm_blackout_{} {} ns {}\n", what, unserved, events);
    say("bench: vmm_interruption_{} {} ns {}\n", what, interruption, events);
    say("bench: vmm_interruption_{}_median {} ns {}\n", what, median(events), events);
    say("bench: vmm_burial_{} {} ns {}\n", what, burial, events);
}

}  // namespace

void guest_main(void* boot_parameters) {
    const std::string_view line = command_line_of(boot_parameters);
    for (unsigned i = 0; i < warm_up; ++i) samples[i] = exit_ticks(rdtsc());
    const std::uint64_t usual = median(warm_up);
    say("ready; an exit takes {} ticks\n", usual);
    // The console is still busy with that.
    for (const std::uint64_t begin = rdtsc(); rdtsc() - begin < quiet;) (void)exit_ticks(begin);
    exit_until_told(find_number(line, "exits").value_or(100'000'000), usual);
    report(find_option(line, "what").value_or("test"), usual);
    power_off();
}

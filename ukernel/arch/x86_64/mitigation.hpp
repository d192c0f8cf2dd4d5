// Measures against speculative execution: which this processor needs and has the means for. See
// docs/decisions/0026-speculation.md.
#pragma once
#include <cstdint>
#include <string_view>

#include "support/options.hpp"

namespace margay {

// What CPUID says.
struct SpeculationCpuid {
    bool amd = false;
    std::uint32_t leaf7_edx = 0, extended8_ebx = 0, extended21_eax = 0;
    std::uint64_t arch_capabilities = 0;  // MSR 0x10a, 0 if there is none
};

struct Mitigations {
    bool ibpb = false;        // empty the branch predictors between Domains and between guests
    bool auto_ibrs = false;   // EFER.AIBRSE: the kernel's predictions are its own
    bool ibrs = false;        // SPEC_CTRL.IBRS, set for good: the same
    bool stibp = false;       // SPEC_CTRL.STIBP, set for good: a sibling thread's do not count
    bool retpolines = false;  // the kernel's indirect branches are not predicted
    bool fill_rsb = false;    // a guest's return addresses do not lead the kernel
    bool verw = false;        // empty the buffers of loads and stores before user code
};

// The measure's option on the kernel's command line, NAME=off or NAME=on (tests), decides against CPUID;
// mitigations=off and mitigations=on stand for all of them.
constexpr bool decide(std::string_view options, std::string_view name, bool wanted) {
    for (const std::string_view option : {name, std::string_view{"mitigations"}})
        if (const auto value = find_option(options, option)) {
            if (*value == "off") return false;
            if (*value == "on") return true;
        }
    return wanted;
}

constexpr Mitigations choose_mitigations(const SpeculationCpuid& c, std::string_view options) {
    const auto bit = [](std::uint64_t word, unsigned n) { return (word >> n & 1) != 0; };
    // AMD's APM vol. 3 appendix E, Intel's SDM vol. 2 CPUID.
    const bool has_ibpb = bit(c.extended8_ebx, 12) || bit(c.leaf7_edx, 26);
    const bool has_stibp = bit(c.extended8_ebx, 15) || bit(c.leaf7_edx, 27);
    const bool enhanced = c.amd ? bit(c.extended8_ebx, 16) : bit(c.arch_capabilities, 1);
    const bool has_auto = bit(c.extended21_eax, 8);
    const bool mds = !c.amd && bit(c.leaf7_edx, 10) && !bit(c.arch_capabilities, 5);
    Mitigations m;
    m.ibpb = decide(options, "ibpb", has_ibpb);
    m.auto_ibrs = decide(options, "auto_ibrs", has_auto);
    m.ibrs = decide(options, "ibrs", enhanced && !has_auto);
    m.stibp = decide(options, "stibp", has_stibp);
    // Where the processor says that it can be led at all, and has nothing better.
    m.retpolines = decide(options, "retpolines", has_ibpb && !m.auto_ibrs && !m.ibrs);
    m.fill_rsb = decide(options, "rsb", has_ibpb && !m.auto_ibrs);
    m.verw = decide(options, "verw", mds);
    return m;
}

const Mitigations& mitigations();
// Once, while the kernel's code can still be written.
void init_mitigations(std::string_view options);
// On each core.
void enable_mitigations();

// Empties this core's branch predictors.
void branch_barrier();

}  // namespace margay

// What a policy server finds in its start-up block, and where.
//
//   policy   PolicyPage, shared with the supervisor     options  what it was attached with, zero-terminated, read-only
//   vcpus    value: how many vCPUs the VM has; their state pages (VcpuState), from policy_states_address on, read-only unless the
//            policy was attached `with-state`
//   log      lines of the policy                        supervisor  to be signalled when PolicyPage::ready has changed
//
// A thread of it on each core that has vCPUs of the VM takes the exits of these; a portal's badge is the vCPU's number.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/exit.hpp"
#include "support/foreign_text.hpp"

namespace margay {

constexpr std::uint64_t policy_page_address = 0x2100'0000;
constexpr std::uint64_t policy_options_address = 0x2101'0000;
constexpr std::uint64_t policy_log_address = 0x2110'0000;
constexpr std::uint64_t policy_states_address = 0x2200'0000;  // of vCPU i: + i pages
constexpr unsigned max_policy_options = 256;                  // bytes, with the zero at the end

enum class PolicyPhase : std::uint32_t {
    starting = 0,
    ready = 1,    // it takes exits from now on
    refused = 2,  // it cannot do what its options say, see report; it ends
};

// A number that a policy keeps, for the operator.
struct PolicyFigure {
    ForeignText<16> name;  // empty: there is none at this place
    std::atomic<std::uint64_t> value;
};
constexpr unsigned policy_figures = exit_classes;

struct PolicyPage {
    std::atomic<PolicyPhase> phase;
    // State groups that it wants to see with an exit of a class. Read when it is ready.
    std::uint64_t wanted[exit_classes];
    // One line for the operator, at any time.
    ForeignText<104> report;
    PolicyFigure figure[policy_figures];
};
static_assert(sizeof(PolicyPage) <= 4096);

}  // namespace margay

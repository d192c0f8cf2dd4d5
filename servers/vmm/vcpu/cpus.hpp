#pragma once

#include "servers/vmm/state/exit_numbers.hpp"
#include "servers/vmm/vcpu/cpu_state.hpp"

#include <atomic>

namespace margay::vmm {

/// The vCPUs of a VM: where the state of each lies.
struct Cpus {
    unsigned count = 0;  ///< 1..max_cpus
    CpuState* state[max_cpus] = {};
    /// Which ones have begun to take messages out of their inboxes, and not yet said what became of them.
    mutable std::atomic<bool> takes_messages[max_cpus] = {};
};

/// Whether all sleep with interrupts off or wait for a start-up message, with no message on its way to any: nothing can
/// wake them. One that falls asleep asks behind having said so; one that took messages and sleeps on asks as well,
/// behind having said that it is done. So whoever is the last gets the answer.
[[nodiscard]] bool all_are_off(const Cpus& cpus) noexcept;

/// How a vCPU gets another to look into its inbox, and at what they share.
class CpuWaker {
  public:
    virtual void wake(unsigned cpu) = 0;

  protected:
    ~CpuWaker() = default;
};

}  // namespace margay::vmm

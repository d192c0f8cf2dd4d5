#pragma once

#include "servers/vmm/state/exit_numbers.hpp"
#include "servers/vmm/vcpu/cpu_state.hpp"

namespace margay::vmm {

/// The vCPUs of a VM: where the state of each lies.
struct Cpus {
    unsigned count = 0;  ///< 1..max_cpus
    CpuState* state[max_cpus] = {};
};

/// How a vCPU gets another to look into its inbox, and at what they share.
class CpuWaker {
  public:
    virtual void wake(unsigned cpu) = 0;

  protected:
    ~CpuWaker() = default;
};

}  // namespace margay::vmm

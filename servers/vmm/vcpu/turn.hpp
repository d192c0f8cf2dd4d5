// Whose exit a thread of the VMM has answered last: of all vCPUs on its core that one alone may be in the guest.
#pragma once
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

class Turn {
  public:
    // Goes before the answer to an exit of a vCPU that shares its core with another of the VM. If the one before it was
    // another vCPU's, the kernel took the core from that one. It is marked (StealTime), and recalled first, so that it
    // comes here before it executes anything more, where its own turn begins and the mark ends. Returns what is dirty in
    // the answer besides.
    [[nodiscard, gnu::noinline]] std::uint64_t goes_to(Machine& machine) {
        if (last_ == &machine) return 0;
        if (last_ != nullptr) last_->lose_turn();
        last_ = &machine;
        return machine.begin_turn();
    }

  private:
    Machine* last_ = nullptr;
};

}  // namespace margay::vmm

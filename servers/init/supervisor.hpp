// All VMs of the node, and what the node console may ask of them.
#pragma once
#include "servers/init/control/operations.hpp"
#include "servers/init/services.hpp"
#include "servers/init/vm.hpp"

namespace margay::init {

class Supervisor final : public Operations {
  public:
    Supervisor(Node& node, Services& services, const Manifest& manifest);

    void start_all();
    // Waits until something is to be done, and does it. The bits that are not the VMs'.
    std::uint64_t serve();
    // A frozen VM is not off: it is kept for study.
    bool any_active() const;
    // Somebody asked for the node's end.
    bool is_ending() const { return ending_; }
    // No VM has failed.
    bool all_well() const;

    unsigned vm_count() override { return count_; }
    VmInfo vm_info(unsigned vm) override;
    unsigned module_count() override;
    ModuleInfo module(unsigned index) override;
    NodeInfo node_info() override;
    Outcome execute(const Command& command, unsigned vm) override;
    Outcome outcome(unsigned vm, unsigned ticket) override;

  private:
    const BootExtent* module_at(unsigned index) const;
    Failure carry_out(const Command& command, Vm& vm);
    // One piece of the most urgent work. When to do the next, TSC; 0: at once, no_deadline: there is none.
    std::uint64_t work();

    Node& node_;
    Services& services_;
    Slot event_;
    Vm vms_[max_vms];
    unsigned count_;
    unsigned last_worked_ = 0;      // VMs with equally urgent work take turns
    std::uint64_t next_piece_ = 0;  // TSC
    Failure failure_;               // of the last command
    bool ending_ = false;
};

}  // namespace margay::init

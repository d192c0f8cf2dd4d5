// All VMs of the node, and what the node console may ask of them.
#pragma once
#include "servers/init/control/operations.hpp"
#include "servers/init/module_room.hpp"
#include "servers/init/saved_transfers.hpp"
#include "servers/init/services.hpp"
#include "servers/init/vm_place.hpp"
#include "support/wake_budget.hpp"

namespace margay::init {

// VMs of one node. Each has two channels of the console, and the node three; one of those is a terminal.
constexpr unsigned max_places = max_vms;
static_assert(2 * max_places + 3 <= max_channels && max_places + 1 <= max_terminals);

class Supervisor final : public Operations, private NodeModuleRoom {
  public:
    Supervisor(Node& node, Services& services, const Manifest& manifest);

    void start_all();
    // Waits until something is to be done, or until a deadline (TSC), and does it. The bits that are not the VMs'.
    std::uint64_t serve(std::uint64_t until = no_deadline);
    // A frozen VM is not off: it is kept for study.
    bool any_active() const;
    // Something is new of the node's devices.
    void devices_told();
    // Somebody asked for the node's end, and every guest is off or has had its time for that.
    bool has_ended();
    // No VM has failed.
    bool all_well() const;

    unsigned vm_count() override { return count_; }
    VmInfo vm_info(unsigned vm) override;
    unsigned counted_cpus(unsigned vm) override;
    CpuExits cpu_exits(unsigned vm, unsigned cpu) override;
    unsigned module_count() override;
    ModuleInfo module(unsigned index) override;
    unsigned policy_count() override;
    PolicyInfo policy(unsigned index) override;
    unsigned device_count() override;
    DeviceInfo device(unsigned index) override;
    NodeInfo node_info() override;
    Outcome execute(const Command& command, unsigned vm) override;
    Outcome outcome(unsigned vm, unsigned ticket) override;
    Outcome receive(std::uint32_t transfer, std::uint64_t offset, std::string_view bytes) override;

  private:
    std::string_view user_of(std::string_view module) override;
    Outcome put_module(const Command& command);
    // Tickets of policies have this bit: no VM's task has such a one.
    static constexpr unsigned policy_ticket = 1u << 31;
    Outcome attach_policy(const Command& command, unsigned vm);
    Failure detach_policy(const Command& command, unsigned vm);
    Outcome policy_outcome(unsigned vm, unsigned ticket);
    Outcome transfer_saved(const Command& command, unsigned vm);
    Failure carry_out(const Command& command, Vm& vm);
    struct Choice {
        Work work = Work::none;
        unsigned vm = 0;
    };
    Choice most_urgent(Work most) const;
    // One piece of the most urgent work. When to do the next, TSC; 0: at once, no_deadline: there is none.
    std::uint64_t work();

    Node& node_;
    Services& services_;
    Slot event_;
    Failure shut_down(const Command& command, unsigned vm);
    // Of a guest that could power off and has not.
    static bool is_awaited(const Vm& vm);
    Failure add(const VmConfig& config);
    Failure define(std::string_view text);
    Failure undefine(unsigned index);
    Failure set(VmPlace& place, std::string_view key, std::string_view value);
    void give_back(VmPlace& place);
    void give_back_channels(VmPlace& place);
    unsigned find(std::string_view name) const;
    bool is_there(unsigned vm) const { return vm < count_ && places_[vm] != nullptr; }
    template <typename F>
    void each(F f) const {
        for (unsigned i = 0; i < count_; ++i)
            if (places_[i] != nullptr) f(*places_[i]);
    }

    VmPlace* places_[max_places] = {};  // null: free
    unsigned count_ = 0;                // behind the last that was ever used
    unsigned definitions_ = 0;          // so far
    unsigned last_worked_ = 0;          // VMs with equally urgent work take turns
    bool leisure_is_due_ = false;       // and what is leisurely with what is waited for
    std::uint64_t next_piece_ = 0;      // TSC
    WakeBudget budget_;                 // for what VMs and their VMMs signal
    Slot pause_ = no_slot;              // an Event that nobody signals
    std::uint64_t pauses_until_ = 0;    // TSC
    ModuleStore modules_;
    SavedTransfers saved_;
    Failure failure_;  // of the last command
    bool ending_ = false, is_abrupt_ = false;
    std::uint64_t end_at_ = 0;  // TSC; then guests that are still there go with the node
};

}  // namespace margay::init

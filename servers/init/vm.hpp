// A virtual machine as its supervisor has it: the guest, its VMMs, what was saved of it, and the life that
// decides what is done with them.
#pragma once
#include <algorithm>

#include "servers/init/checkpoint.hpp"
#include "servers/init/control/operations.hpp"
#include "servers/init/life/vm_life.hpp"
#include "servers/init/policies.hpp"
#include "servers/init/saved/format.hpp"
#include "servers/init/test_killer.hpp"
#include "servers/init/vmm_process.hpp"

namespace margay::init {

class Vm final : private VmHands {
  public:
    // The tickets of its tasks follow first_ticket.
    void configure(Node& node, const VmConfig& config, const Connections& to,
                   unsigned first_ticket);

    // Commands; see VmLife. What is begun ends with a look or a piece.
    Failure start();
    Failure destroy();
    Failure reset();
    Failure suspend() { return life_.suspend(); }
    Failure resume() { return life_.resume(rdtsc()); }
    Failure replace_vmm(const char* module) { return life_.replace_vmm(module, rdtsc()); }
    Failure save();
    // Something is new of the node's devices.
    void devices_told();
    Failure restore();
    // Presses its power button: what follows is its guest's affair.
    Failure press_power_button();
    // A key that may change while it runs has another value.
    void config_changed();
    // Whatever its guest's end, it is not started anew from now on.
    void end_with_guest();
    // What was saved of it goes.
    Failure forget();
    // What was saved of it elsewhere takes the place of what was saved here. See Checkpoint::adopt.
    Failure adopt(const Holdings& holdings, std::byte* block, const saved::Header& header);

    // Bits of the node's Event that are this VM's, among others'.
    std::uint64_t event_mask() const { return to_.bit; }
    // Finds out what has happened, and does what follows.
    void look();
    std::uint64_t next_look() const;  // TSC
    Work work() const { return std::max(life_.work(), policies_.work()); }
    void do_piece() {
        if (policies_.work() > life_.work())
            policies_.do_piece();
        else
            life_.do_piece(rdtsc());
    }

    // Its definition names the module, or one of its VMMs is that module.
    bool uses(std::string_view module) const;
    // A dead VMM that is being buried uses nothing any more, nor does a VM that ends.
    void end_rest() { life_.end_rest(); }
    const VmConfig& config() const { return *config_; }
    const VmLife& life() const { return life_; }
    std::uint64_t exits() const;
    // vCPUs that are there, and what the kernel has counted of one.
    unsigned counted_cpus() const;
    CpuExits cpu_exits(unsigned cpu) const;
    std::uint64_t rolled_back() const;
    std::uint64_t blackout_ns() const { return node_->nanoseconds(life_.blackout()); }
    Policies& policies() { return policies_; }
    const Policies& policies() const { return policies_; }
    const Checkpoint& checkpoint() const { return checkpoint_; }
    // Bytes of the guest's files that are in place, of all, while it starts.
    std::uint64_t placed() const;
    std::uint64_t file_bytes() const;

  private:
    static constexpr unsigned no_place = ~0u;

    bool begin_guest(bool restored, Failure& why) override;
    Piece guest_piece(Failure& why) override;
    bool start_guest(Failure& why) override;
    void stop_guest() override;
    Piece drop_piece() override;
    void begin_load(const char* module) override;
    Piece load_piece(Failure& why) override;
    void drop_next() override { drop(next_); }
    bool take_over(Failure& why) override;
    void take_back() override;
    void unbind() override;
    void kill() override;
    void bury(const char* cause, std::uint64_t died_at) override;
    Piece bury_piece(const char* cause, std::uint64_t died_at) override;
    void freeze(const char* cause, std::uint64_t died_at, const char* reason) override;
    bool suspend_vcpu() override;
    bool resume_vcpu() override;
    bool begin_copy(bool out, Failure& why) override;
    Piece copy_piece(Failure& why) override;
    void end_copy() override { checkpoint_.end(); }
    void read_reason(char (&to)[104]) override;
    void say_begins_anew(const char* reason) override;
    void say_ended(const char* reason, bool well) override;

    Failure refuse_with_devices() const;
    void look_at_cpus(VmSample& s);
    void drop(unsigned& place);
    void tell_progress(std::uint64_t now);
    LifeLimits limits() const;
    std::uint64_t bytes_of(const char* module) const;

    Node* node_ = nullptr;
    const VmConfig* config_ = nullptr;
    Connections to_;
    VmLife life_{*this};
    TestKiller killer_;

    Guest guest_;
    bool guest_is_made_ = false;
    GuestDevices devices_;
    Policies policies_;
    VmmProcess vmm_[3];
    unsigned active_ = no_place, next_ = no_place, retired_ = no_place;
    unsigned reported_ = 0;  // parts of the report on the retired one
    Checkpoint checkpoint_;
    std::uint64_t epoch_ = 0, first_sequence_ = 0, restored_ = 0, resumed_ = 0;
    std::uint32_t power_presses_ = 0;  // since the guest was made
    bool ends_with_guest_ = false;
    std::uint64_t tells_at_ = no_deadline;       // TSC; then it says how far a start is
    std::uint64_t exits_ = 0, rolled_back_ = 0;  // of a VM that is off
};

}  // namespace margay::init

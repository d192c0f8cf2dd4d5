// A virtual machine as its supervisor sees it: a guest, the VMM that serves it, and the next one.
#pragma once
#include "servers/init/checkpoint.hpp"
#include "servers/init/event_bits.hpp"
#include "servers/init/restart_policy.hpp"
#include "servers/init/vmm_process.hpp"

namespace margay::init {

enum class VmState { shut_off, running, frozen, failed };

// Bits of the node's Event, four for each VM.
namespace vm_bit {
constexpr unsigned per_vm = 4;
constexpr std::uint64_t guest_ended = 1;
constexpr std::uint64_t vmm_ended = 2;  // of the VMM in place 0; place 1: the next bit
constexpr std::uint64_t vmm_news = 8;   // VmControl::phase has changed
}  // namespace vm_bit

class Vm {
  public:
    void configure(Node& node, const VmConfig& config, const Connections& to, EventBits& bits,
                   unsigned index);

    // Each operation returns null, or why it was not done.
    const char* start();
    const char* destroy();
    const char* reset();
    const char* suspend();
    const char* resume();
    // Planned: the VMM that serves finishes its exit, another process of the boot module goes on.
    // Null: of the same module. A frozen VM goes on with it.
    const char* replace_vmm(const char* module);
    const char* save();
    const char* restore();

    // Bits of the Event that are this VM's.
    std::uint64_t event_mask() const { return 15ull << shift_; }
    void take(std::uint64_t bits);
    // What is to be done from time to time. next_look(): when (TSC).
    void look(std::uint64_t now);
    std::uint64_t next_look() const;

    const VmConfig& config() const { return *config_; }
    VmState state() const { return state_; }
    bool is_suspended() const { return suspended_; }
    bool is_restarting() const { return state_ == VmState::running && restarting_; }
    // It was off, failed, or runs as it should: nothing went wrong.
    bool ended_well() const { return state_ != VmState::failed; }
    const char* vmm_module() const { return module_; }
    const char* reason() const { return reason_; }
    std::uint64_t exits() const;
    std::uint64_t restarts() const { return restarts_; }
    std::uint64_t rolled_back() const;
    // From noticing that there is no VMM to the next one's readiness, the last time.
    std::uint64_t blackout_ns() const { return blackout_ns_; }
    const Checkpoint& checkpoint() const { return checkpoint_; }

  private:
    VmmProcess& active() { return vmm_[active_]; }
    VmmProcess& other() { return vmm_[active_ ^ 1]; }
    std::uint64_t now_ms() const { return node_->nanoseconds(rdtsc()) / 1'000'000; }
    std::uint64_t ended_bit(unsigned place) const { return vm_bit::vmm_ended << place << shift_; }
    const char* start_from(const Checkpoint* saved);
    Status load(unsigned place, const char* module, std::uint64_t restored);
    const char* fail_with(const char* what, const char* why);
    const char* say(const char* text);
    void release();
    void guest_ended();
    void vmm_ended();
    void restart(const char* module);
    void freeze(const char* reason);
    void vmm_news();
    void begin_service(const char* module, std::uint64_t since);
    // The report on the VMM that ended, and its memory: after its successor serves, so that the guest
    // does not wait for them.
    void bury();
    void bury_later(const char* cause);
    void let_finish();
    const char* hand_over(const char* module, const char* old_module, bool old_serves);
    void watch(std::uint64_t now);
    std::uint64_t watch_ticks() const;
    void schedule_kill(std::uint64_t now);
    const char* come_to_rest();

    Node* node_ = nullptr;
    const VmConfig* config_ = nullptr;
    Connections to_;
    EventBits* bits_ = nullptr;
    unsigned shift_ = 0;

    Guest guest_;
    VmmProcess vmm_[2];
    unsigned active_ = 0;
    char module_[max_name] = {};
    VmState state_ = VmState::shut_off;
    bool suspended_ = false, restarting_ = false;
    RestartPolicy policy_;
    Checkpoint checkpoint_;

    std::uint64_t epoch_ = 0, restored_ = 0, restarts_ = 0, blackout_ns_ = 0;
    std::uint64_t exits_ = 0, rolled_back_ = 0;  // of a VM that is off
    std::uint64_t no_vmm_since_ = 0;             // TSC
    std::uint64_t bury_at_ = no_deadline;        // TSC; the dead one is in the other place
    char cause_[96] = {};                        // of the last death
    std::uint64_t died_at_ = 0;                  // number of the guest's last exit then
    const char* killed_for_ = nullptr;           // why init killed it, if it did
    // The exit that was pending when the VM was looked at last, and how often it was before.
    std::uint64_t watched_exit_ = 0, watched_looks_ = 0, next_watch_ = no_deadline;
    std::uint64_t next_kill_ = no_deadline, kill_random_ = 0;
    char reason_[128] = {};
};

}  // namespace margay::init

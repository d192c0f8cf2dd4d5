// The policies of one VM: servers that are asked before its VMM about exits of certain classes. Each comes and goes while the
// guest runs; the guest does not notice.
#pragma once
#include "servers/init/failure.hpp"
#include "servers/init/life/vm_life.hpp"
#include "servers/init/policy_process.hpp"

namespace margay::init {

enum class PolicyState : std::uint8_t {
    none,      // there is no policy at this place
    off,       // it is attached when the VM's guest begins
    loading,   // it is made
    starting,  // it runs, and is not ready
    binding,   // exits of some vCPUs go to it
    attached,  // exits go to it
    ending,    // they do not any more; what it is made of goes back
    failed,    // see reason
};

class Policies {
  public:
    static constexpr unsigned most = 4;

    void use(Node& node, const VmConfig& config);

    // What stands against it, before a channel for its lines is made.
    Failure may_attach(const PolicySpec& spec) const;
    // Begins to attach it, if there is a guest; else it is when one begins.
    void attach(const PolicySpec& spec, const PolicyConnections& to);
    // Its exits go to the VMM from now on.
    Failure detach(std::string_view module);
    // How attaching it went: pending as long as it is neither attached nor failed.
    Failure outcome(unsigned number, bool& pending) const;
    // Of the one that was attached last.
    unsigned number() const { return number_; }

    void guest_begins(const Guest& guest);
    void guest_ends();
    // True: nothing of them is left that needs the guest.
    bool drop_piece();

    // Whether the exit of that class is with one of them. Its answer is awaited since then (TSC).
    bool has_exit(const VcpuStatus& v) const;
    void exit_waits(const VcpuStatus& v, unsigned cpu, std::uint64_t since);
    std::uint64_t next_look() const;  // TSC
    void look(std::uint64_t now);
    Work work() const;
    void do_piece();

    bool uses(std::string_view module) const;
    // Channels of those that have left, and if the VM goes of all, are given back by whoever made them.
    template <typename F>
    void give_back_channels(bool all, F remove) {
        for (Policy& p : policies_) {
            if (p.to.log.here == nullptr || (!all && p.state != PolicyState::none)) continue;
            remove(p.to.log);
            p.to.log = Channel{};
        }
    }

    struct Policy {
        PolicyState state = PolicyState::none;
        bool leaves = false;  // when it has ended, it is forgotten
        unsigned number = 0;
        PolicySpec spec;
        PolicyConnections to;
        PolicyProcess process;
        VmmWatch watch;
        WatchSample sample;       // of the exit that it has had longest
        std::uint64_t since = 0;  // TSC
        char reason[120] = {};
    };
    const Policy& operator[](unsigned i) const { return policies_[i]; }

  private:
    void begin(Policy& p);
    void end(Policy& p, const char* reason);
    void ended(Policy& p);
    void look(Policy& p, std::uint64_t now);
    void watch(Policy& p);

    Node* node_ = nullptr;
    const VmConfig* config_ = nullptr;
    const Guest* guest_ = nullptr;  // null: it has none
    Policy policies_[most];
    unsigned number_ = 0;
};

}  // namespace margay::init

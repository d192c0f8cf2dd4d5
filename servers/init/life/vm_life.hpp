// The life of a VM: what state it is in, what it is doing, and what follows from what happens to it. A
// machine that is told what the VM looks like and that acts through its hands; it never waits.
#pragma once
#include "servers/init/life/restart_policy.hpp"
#include "servers/init/life/vm_hands.hpp"
#include "servers/init/life/vmm_watch.hpp"
#include "servers/init/manifest.hpp"

namespace margay::init {

enum class VmState : std::uint8_t { shut_off, starting, running, frozen, failed };

// The place of the VMM that serves.
enum class Service : std::uint8_t {
    none,
    attaching,  // it was given the exits and does not answer yet
    serving,
    finishing,  // it has its last exit: the next one takes over
};

// What the VMM that comes next is for.
enum class Purpose : std::uint8_t { service, wish, standby };

// What somebody asked for and waits for.
enum class Task : std::uint8_t { none, start, end, suspend, save, restore, replace };

// How urgent the work is that there is to do in pieces.
enum class Work : std::uint8_t {
    none,
    leisurely,  // nobody waits for it
    waited,     // an operator waits, or a suspended guest
    ending,     // likewise; what it gives back may be what others lack
    urgent,     // a guest has no VMM
};

// What becomes of a VM whose guest ends without powering off.
struct EndPolicy {
    bool restarts_on_reset = true, restarts_on_crash = true;  // otherwise it has failed
    bool keeps_frozen = true;                                 // likewise
};

struct LifeLimits {
    WatchLimits watch;
    RestartLimits restart;
    std::uint64_t head_start;  // ticks for which a successor is left alone with its first exits
    std::uint64_t poll;        // ticks until the first look at what is nearly done
    std::uint64_t ticks_per_ms;
    bool standby;  // a second VMM waits, loaded, for the end of the first
    EndPolicy ends{};
};

class VmLife {
  public:
    explicit VmLife(VmHands& hands) : hands_{hands} {}
    // While it is shut off. The texts must stay; modules: of the VMM and of its fallback. The tickets of its tasks
    // follow first_ticket.
    void configure(const LifeLimits& limits, const char* vmm, const char* fallback,
                   unsigned first_ticket = 0);

    // At any time. What is under way has its limits from here on.
    void change(const LifeLimits& limits, std::uint64_t now);

    // Commands. Not set: it is done, or begun (task()). What begins ends with a look or a piece.
    Failure start(std::uint64_t now);
    Failure restore(std::uint64_t now);
    Failure destroy();
    Failure suspend();
    Failure resume(std::uint64_t now);
    Failure save();
    // Another VMM; null: of the same module. A frozen VM goes on with it.
    Failure replace_vmm(const char* module, std::uint64_t now);
    // The active VMM is killed; that says nothing about it.
    void kill_for_test();

    void look(const VmSample& sample);
    std::uint64_t next_look() const;  // ticks
    Work work() const;
    void do_piece(std::uint64_t now);
    // What its making or its end has waited for may have happened.
    void wake() { waits_ = false; }

    VmState state() const { return state_; }
    Service service() const { return service_; }
    bool is_suspended() const { return suspended_; }
    // Of a burial or an end that is under way, the rest at once, as far as it need not wait: somebody wants what is held.
    void end_rest();
    // It is off, and something of it is still there.
    bool is_ending() const { return !is_active() && guest_ != GuestPart::none; }
    bool is_active() const { return state_ != VmState::shut_off && state_ != VmState::failed; }
    Task task() const { return task_; }
    // How the last task ended; it is set while it failed.
    const Failure& ended() const { return ended_; }
    // Counts tasks.
    unsigned ticket() const { return ticket_; }
    // Of the last task that a destroy() ended.
    unsigned ousted() const { return ousted_; }
    const char* vmm() const { return vmm_; }
    bool has_standby() const { return next_ == Next::ready && purpose_ == Purpose::standby; }
    const char* reason() const { return reason_; }
    std::uint64_t restarts() const { return restarts_; }
    std::uint64_t blackout() const { return blackout_; }  // ticks

  private:
    static constexpr std::uint64_t never = ~0ull;

    enum class Next : std::uint8_t { none, loading, ready };
    enum class Copy : std::uint8_t { none, out, in };
    enum class GuestPart : std::uint8_t { none, growing, whole, going };
    enum class KilledFor : std::uint8_t { nothing, refusal, start, exit, test };

    Failure begin(Task task);
    Failure begin_guest(Task task, std::uint64_t now);
    // Begins to make it, when what is left of the one before has gone. False: it cannot be made, and has failed.
    bool make(bool restored, std::uint64_t now);
    bool grow();
    void grown();
    void leave();
    void end_piece();
    bool may_begin_anew(const VmSample& s);
    void complete();
    void fail_task(FailureKind kind, std::string_view format, const char* a = "",
                   const char* b = "");
    void fail(const Failure& why);
    void guest_ended(const VmSample& s);
    void vmm_died(const VmSample& s);
    void successor_failed(const VmSample& s);
    void decide(const VmSample& s, bool refused);
    void refused();
    void serving(std::uint64_t now);
    void load(const char* module, Purpose purpose);
    void replace_dead(const char* module, std::uint64_t now);
    void loaded(std::uint64_t now);
    void load_failed(const Failure& why, std::uint64_t now);
    void copied(std::uint64_t now);
    void hand_over(std::uint64_t now);
    void take_over(std::uint64_t now);
    void freeze(const char* reason);
    void bury();
    void bury_piece();
    void buried();
    void replaced();
    // False: it hung and was killed.
    bool watch(const VmSample& s);
    void progress(const VmSample& s);
    void poll(std::uint64_t now);
    void cause_of(const VmSample& s, char (&to)[104]);

    VmHands& hands_;
    LifeLimits limits_{};
    const char* configured_vmm_ = "";
    const char* fallback_ = "";

    VmState state_ = VmState::shut_off;
    Service service_ = Service::none;
    Next next_ = Next::none;
    Purpose purpose_ = Purpose::service;
    Copy copy_ = Copy::none;
    GuestPart guest_ = GuestPart::none;
    Task task_ = Task::none;
    KilledFor killed_for_ = KilledFor::nothing;
    bool suspended_ = false;       // by command
    bool rests_for_save_ = false;  // the vCPU is suspended for the copy only
    bool is_restored_ = false;     // it is made from what was saved
    bool started_ = false;         // the vCPU was let run
    bool was_frozen_ = false;      // its first VMM since then is not serving yet
    bool has_retired_ = false, retired_lives_ = false;
    bool buries_ = false;   // the retired one is going
    bool changed_ = false;  // look again at once
    bool waits_ = false;    // the guest's making, or its end

    VmmWatch watch_;
    RestartPolicy policy_;
    std::uint64_t ends_since_ = 0,
                  ends_ = 0;  // ends of guests that were made anew: in ms; since then
    unsigned ticket_ = 0, ousted_ = 0;
    Failure ended_;
    char vmm_[max_name] = {}, next_vmm_[max_name] = {}, old_vmm_[max_name] = {};
    char cause_[104] = {};       // of the last death, until it is reported
    std::uint64_t died_at_ = 0;  // the guest's last exit then, see exit_name()
    char reason_[128] = {};
    std::uint64_t no_vmm_since_ = 0, bury_at_ = ~0ull, standby_at_ = ~0ull, poll_at_ = ~0ull;
    std::uint64_t poll_step_ = 0;
    std::uint64_t restarts_ = 0, blackout_ = 0;
};

}  // namespace margay::init

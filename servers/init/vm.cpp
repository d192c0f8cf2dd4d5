#include "servers/init/vm.hpp"

#include "libipc/log.hpp"
#include "servers/init/clock.hpp"
#include "servers/init/text.hpp"
#include "servers/init/vmm_report.hpp"

namespace margay::init {

namespace {

// A successor answers its first exits before init takes the core for anything else.
constexpr std::uint64_t head_start_us = 500;
constexpr std::uint64_t poll_us = 20;
constexpr std::uint64_t us_per_ms = 1000;
// How often an exit that waits is looked at before its VMM is taken to hang.
constexpr std::uint64_t looks_per_limit = 4;
// Not the VMM's fault.
constexpr const char* killed_for_test = "killed for a test";

}  // namespace

void Vm::configure(Node& node, const VmConfig& config, const Connections& to, EventBits& bits,
                   unsigned index) {
    node_ = &node;
    config_ = &config;
    to_ = to;
    bits_ = &bits;
    shift_ = index * vm_bit::per_vm;
    kill_random_ = config.test_kill_seed;
}

const char* Vm::say(const char* text) {
    copy_text(reason_, text);
    return reason_;
}

const char* Vm::fail_with(const char* what, const char* why) {
    if (*what != 0)
        write(reason_, "{}: {}", what, why);
    else
        say(why);
    log("margay: guest {} failed: {}\n", config_->name, reason_);
    state_ = VmState::failed;
    release();
    return reason_;
}

std::uint64_t Vm::exits() const {
    if (guest_.control == nullptr) return exits_;
    const Result<VcpuStatus> v = query_vcpu(guest_.vcpu);
    return v ? v->sequence : 0;
}

std::uint64_t Vm::rolled_back() const {
    return guest_.control == nullptr ? rolled_back_ : guest_.control->rolled_back;
}

void Vm::release() {
    if (guest_.control != nullptr) {
        exits_ = exits();
        rolled_back_ = rolled_back();
    }
    bury_at_ = no_deadline;
    for (VmmProcess& v : vmm_) v.release();
    // What was typed for this guest is not for the next one; how much of it the guest has taken, only its
    // device state knows.
    to_.terminal.here->input.release(to_.terminal.here->input.head());
    guest_.release();
    restarting_ = suspended_ = false;
    next_watch_ = next_kill_ = no_deadline;
    // What its end still signals is of no interest any more.
    bits_->forget(event_mask());
}

Status Vm::load(unsigned place, const char* module, std::uint64_t restored) {
    vmm_[place].release();
    return vmm_[place].load(*node_, *config_, module, guest_, to_, ended_bit(place),
                            vm_bit::vmm_news << shift_, epoch_, restarts_, restored);
}

const char* Vm::start() { return start_from(nullptr); }

const char* Vm::start_from(const Checkpoint* saved) {
    if (state_ == VmState::running || state_ == VmState::frozen) return "it is active already";
    state_ = VmState::shut_off;
    reason_[0] = 0;
    if (config_->core >= node_->info().cores)
        return fail_with("", "the node has no such core (core): bad argument");
    if (node_->info().virtualization == 0)
        return fail_with("", "this machine has no SVM, or its firmware disables it: not supported");
    Status s = guest_.create(*node_, *config_, bits_->event(), vm_bit::guest_ended << shift_,
                             to_.requests);
    if (s != Status::ok) return fail_with(guest_.why, to_text(s));
    if (saved != nullptr) {
        s = saved->restore(guest_);
        if (s != Status::ok) return fail_with("its state cannot be restored", to_text(s));
    } else {
        epoch_ = read_clock(init_slot::ports);
    }
    restored_ = saved != nullptr ? saved->taken_at() : 0;
    restarts_ = blackout_ns_ = 0;
    policy_ = RestartPolicy{
        {config_->restart_limit, config_->restart_window_ms, config_->vmm_fallback[0] != 0}};
    active_ = 0;
    s = load(active_, config_->vmm, restored_);
    if (s != Status::ok) return fail_with(active().why(), to_text(s));
    begin_service(config_->vmm, rdtsc());
    s = guest_.start(saved != nullptr ? saved->sequence() : 0);
    if (s != Status::ok) return fail_with(guest_.why, to_text(s));
    state_ = VmState::running;
    schedule_kill(rdtsc());
    return nullptr;
}

// The exits that wait, and all that follow, go to the active VMM.
void Vm::begin_service(const char* module, std::uint64_t since) {
    copy_text(module_, module);
    no_vmm_since_ = since;
    restarting_ = true;
    killed_for_ = nullptr;
    guest_.control->outcome.store(VmOutcome::running);
    const Status s = active().serve(guest_);
    if (s != Status::ok)
        log("margay: VMM of {}: {}: {}\n", config_->name, active().why(), to_text(s));
    watched_exit_ = 0;
    watched_looks_ = 0;
    next_watch_ = rdtsc() + watch_ticks();
}

std::uint64_t Vm::watch_ticks() const {
    return node_->ticks(config_->hang_ms * us_per_ms / looks_per_limit);
}

const char* Vm::destroy() {
    if (state_ != VmState::running && state_ != VmState::frozen) return "it is not active";
    release();
    state_ = VmState::shut_off;
    say("destroyed");
    return nullptr;
}

const char* Vm::reset() {
    if (const char* why = destroy()) return why;
    return start();
}

const char* Vm::suspend() {
    if (state_ != VmState::running) return "it is not running";
    if (suspended_) return "it is suspended already";
    if (vcpu_ctl(guest_.vcpu, VcpuOp::suspend) != Status::ok) return "its vCPU cannot be suspended";
    suspended_ = true;
    // The answer means that it stands still; a VMM that does not answer is the watch's business.
    (void)come_to_rest();
    return nullptr;
}

const char* Vm::resume() {
    if (state_ != VmState::running) return "it is not running";
    if (!suspended_) return "it is not suspended";
    if (vcpu_ctl(guest_.vcpu, VcpuOp::resume) != Status::ok) return "its vCPU cannot be resumed";
    suspended_ = false;
    watched_exit_ = 0;
    return nullptr;
}

// Suspended, and no exit waits for its answer.
const char* Vm::come_to_rest() {
    const std::uint64_t limit = rdtsc() + node_->ticks(config_->hang_ms * us_per_ms);
    for (;;) {
        const Result<VcpuStatus> v = query_vcpu(guest_.vcpu);
        if (!v || v->dead) return "the guest has ended";
        if (v->stopped && !v->pending) return nullptr;
        if (rdtsc() >= limit) return "its VMM does not answer";
        bits_->pause(rdtsc() + node_->ticks(poll_us));
    }
}

const char* Vm::save() {
    if (state_ != VmState::running || restarting_) return "it is not running";
    const bool was_suspended = suspended_;
    if (!was_suspended)
        if (const char* why = suspend()) return why;
    const char* why = come_to_rest();
    if (why == nullptr) {
        const Status s = checkpoint_.save(*node_, guest_);
        if (s != Status::ok) {
            write(reason_, "it cannot be saved: {}", to_text(s));
            why = reason_;
        }
    }
    if (!was_suspended) (void)resume();
    return why;
}

const char* Vm::restore() {
    if (!checkpoint_.is_taken()) return "it was not saved";
    if (state_ == VmState::running || state_ == VmState::frozen) (void)destroy();
    return start_from(&checkpoint_);
}

void Vm::take(std::uint64_t bits) {
    bits >>= shift_;
    if (state_ != VmState::running) return;
    if ((bits & vm_bit::guest_ended) != 0) {
        guest_ended();
        return;
    }
    if ((bits & vm_bit::vmm_news) != 0) vmm_news();
    if (state_ == VmState::running && (bits & vm_bit::vmm_ended << active_) != 0) vmm_ended();
}

void Vm::guest_ended() {
    const VmControl& c = *guest_.control;
    const char* name = config_->name;
    bury();
    switch (c.outcome.load()) {
    case VmOutcome::powered_off:
        log("margay: guest {} powered off after {} exits\n", name, exits());
        if (restarts_ != 0)
            log("margay: guest {} had {} VMMs die under it; {} exits were rolled back\n", name,
                restarts_, rolled_back());
        say("powered off");
        state_ = VmState::shut_off;
        release();
        return;
    case VmOutcome::reset: fail_with("", "it reset itself"); return;
    case VmOutcome::failed: fail_with("", c.reason.copy().c_str()); return;
    case VmOutcome::running: break;
    }
    fail_with("", "an exit had no handler");
}

void Vm::vmm_news() {
    const VmmPhase phase = guest_.control->phase.load();
    if (phase == VmmPhase::refused) {
        killed_for_ = "it refused the VM's state";
        (void)active().kill();
        return;
    }
    if (phase != VmmPhase::serving || !restarting_) return;
    restarting_ = false;
    const std::uint64_t now = rdtsc();
    if (other().is_loaded()) {
        blackout_ns_ = node_->nanoseconds(now - no_vmm_since_);
        bury_at_ = now + node_->ticks(head_start_us);
    }
}

void Vm::vmm_ended() {
    const std::uint64_t now = rdtsc();
    const Result<VcpuStatus> v = query_vcpu(guest_.vcpu);
    // If the guest ended as well, that is signalled on its own.
    if (!v || v->dead) return;
    const VmmPhase phase = guest_.control->phase.load();
    if (phase == VmmPhase::starting && guest_.control->outcome.load() == VmOutcome::failed) {
        guest_ended();  // it says that the guest cannot be loaded
        return;
    }
    bury();
    const bool refused = phase == VmmPhase::refused;
    if (refused)
        copy_text(cause_, guest_.control->reason.copy().c_str());
    else if (killed_for_ != nullptr)
        copy_text(cause_, killed_for_);
    else
        copy_text(cause_, phase == VmmPhase::starting ? "it died before it served" : "it died");
    ++restarts_;
    died_at_ = v->sequence;
    no_vmm_since_ = now;
    if (killed_for_ == killed_for_test) {
        restart(module_);
        return;
    }
    const bool at_exit = v->pending || phase == VmmPhase::starting;
    switch (policy_.vmm_died({v->sequence, at_exit, refused, now_ms()})) {
    case RestartDecision::same: restart(module_); break;
    case RestartDecision::fallback: restart(config_->vmm_fallback); break;
    case RestartDecision::freeze: freeze(policy_.reason()); break;
    }
}

void Vm::restart(const char* module) {
    const unsigned next = active_ ^ 1;
    const Status s = load(next, module, restored_);
    if (s != Status::ok) {
        write(reason_, "VMM {}: {}: {}", module, vmm_[next].why(), to_text(s));
        vmm_[next].release();
        freeze(reason_);
        return;
    }
    active_ = next;
    begin_service(module, no_vmm_since_);
}

void Vm::bury() {
    if (bury_at_ == no_deadline && !other().is_loaded()) return;
    bury_at_ = no_deadline;
    if (!other().is_loaded()) return;
    if (cause_[0] != 0) report_dead_vmm(config_->name, other().program(), guest_, died_at_, cause_);
    cause_[0] = 0;
    other().release();
}

void Vm::freeze(const char* reason) {
    if (reason != reason_) say(reason);
    restarting_ = false;
    state_ = VmState::frozen;
    next_watch_ = next_kill_ = no_deadline;
    report_dead_vmm(config_->name, active().program(), guest_, died_at_, cause_);
    cause_[0] = 0;
    other().release();
    active().release();
    const Result<VcpuStatus> v = query_vcpu(guest_.vcpu);
    report_frozen(config_->name, guest_, v ? v->sequence : 0, reason_);
}

// The VMM answers the exit that it has, and gets no other one.
void Vm::let_finish() {
    const std::uint64_t limit = rdtsc() + node_->ticks(config_->hang_ms * us_per_ms);
    for (;;) {
        const Result<VcpuStatus> v = query_vcpu(guest_.vcpu);
        if (!v || !v->in_service) return;
        if (rdtsc() >= limit) {
            write(cause_, "it did not finish exit {}", v->sequence);
            died_at_ = v->sequence;
            (void)active().kill();
            return;
        }
        bits_->pause(rdtsc() + node_->ticks(poll_us));
    }
}

const char* Vm::replace_vmm(const char* wanted) {
    if (state_ != VmState::running && state_ != VmState::frozen) return "it is not running";
    if (restarting_) return "its VMM is being restarted";
    char module[max_name], old_module[max_name];
    copy_text(module, wanted != nullptr ? wanted : module_);
    copy_text(old_module, module_);
    bury();
    // All that takes time happens while the old one still serves.
    const unsigned next = active_ ^ 1;
    const Status s = load(next, module, restored_);
    if (s != Status::ok) {
        write(reason_, "VMM {}: {}: {}", static_cast<const char*>(module), vmm_[next].why(),
              to_text(s));
        vmm_[next].release();
        return reason_;
    }
    const bool old_serves = state_ == VmState::running;
    if (old_serves) {
        (void)portal_ctl(guest_.portal, PortalOp::unbind);
        no_vmm_since_ = rdtsc();
        let_finish();
    } else {
        no_vmm_since_ = rdtsc();
    }
    state_ = VmState::running;
    active_ = next;
    bits_->forget(ended_bit(next));
    begin_service(module, no_vmm_since_);
    return hand_over(module, old_module, old_serves);
}

// The successor was started: waits for its readiness, and goes back if it does not serve.
const char* Vm::hand_over(const char* module, const char* old_module, bool old_serves) {
    const std::uint64_t limit = rdtsc() + node_->ticks(config_->hang_ms * us_per_ms);
    const std::uint64_t news = vm_bit::vmm_news << shift_;
    std::uint64_t bits;
    VmmPhase phase;
    do {
        bits = bits_->wait(news | ended_bit(active_), limit);
        phase = guest_.control->phase.load();
    } while (phase == VmmPhase::starting && bits != 0 && (bits & ended_bit(active_)) == 0);
    if (phase == VmmPhase::serving) {
        restarting_ = false;
        blackout_ns_ = node_->nanoseconds(rdtsc() - no_vmm_since_);
        bits_->pause(rdtsc() + node_->ticks(head_start_us));
        bury();
        policy_.begin_anew();
        reason_[0] = 0;
        return nullptr;
    }
    const bool refused = phase == VmmPhase::refused;
    (void)active().kill();
    bits_->forget(news | ended_bit(active_));
    if (refused)
        write(reason_, "VMM {} refuses: {}", module, guest_.control->reason.copy().view());
    else
        write(reason_, "VMM {} {}", module,
              phase == VmmPhase::starting ? "did not begin to serve" : "died");
    if (refused && old_serves) {
        // Nothing was touched: the old one goes on as if it had not been asked.
        active().release();
        active_ ^= 1;
        copy_text(module_, old_module);
        restarting_ = false;
        guest_.control->phase.store(VmmPhase::serving);
        (void)portal_ctl(guest_.portal, PortalOp::bind, active().program().thread());
        return reason_;
    }
    copy_text(cause_, reason_);
    died_at_ = exits();
    if (!old_serves) {
        freeze(reason_);
        return reason_;
    }
    // It may have begun to handle an exit: a fresh process of the old build rolls that back.
    other().release();
    restart(old_module);
    return reason_;
}

void Vm::watch(std::uint64_t now) {
    next_watch_ = now + watch_ticks();
    const Result<VcpuStatus> v = query_vcpu(guest_.vcpu);
    if (!v) return;
    const bool starts = guest_.control->phase.load() == VmmPhase::starting;
    const std::uint64_t exit = starts ? ~0ull : v->pending ? v->sequence : 0;
    if (exit != watched_exit_) {
        watched_exit_ = exit;
        watched_looks_ = 0;
        return;
    }
    // Looks are counted, not time: a machine that stood still as a whole blames nobody.
    if (exit == 0 || ++watched_looks_ < looks_per_limit) return;
    killed_for_ =
        starts ? "it did not begin to serve in time" : "it did not answer an exit in time";
    (void)active().kill();
}

void Vm::schedule_kill(std::uint64_t now) {
    if (config_->test_kill_us == 0) return;
    // xorshift64
    kill_random_ |= kill_random_ == 0;
    kill_random_ ^= kill_random_ << 13;
    kill_random_ ^= kill_random_ >> 7;
    kill_random_ ^= kill_random_ << 17;
    const std::uint64_t mean = node_->ticks(config_->test_kill_us);
    next_kill_ = now + mean / 2 + kill_random_ % (mean + 1);
}

void Vm::look(std::uint64_t now) {
    if (state_ != VmState::running) return;
    if (now >= bury_at_) bury();
    if (now >= next_watch_) watch(now);
    if (now >= next_kill_) {
        if (!restarting_) {
            killed_for_ = killed_for_test;
            (void)active().kill();
        }
        schedule_kill(rdtsc());
    }
}

std::uint64_t Vm::next_look() const {
    if (state_ != VmState::running) return no_deadline;
    std::uint64_t next = bury_at_ < next_watch_ ? bury_at_ : next_watch_;
    return next < next_kill_ ? next : next_kill_;
}

}  // namespace margay::init

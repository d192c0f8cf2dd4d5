#include "servers/init/life/vm_life.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace margay::init {

namespace {

// Tells exits of all vCPUs apart.
std::uint64_t exit_of(const VmSample& s) { return exit_name(s.cpu, s.sequence); }

}  // namespace

void VmLife::configure(const LifeLimits& limits, const char* vmm, const char* fallback,
                       unsigned first_ticket) {
    ticket_ = first_ticket;
    limits_ = limits;
    configured_vmm_ = vmm;
    fallback_ = fallback;
}

void VmLife::change(const LifeLimits& limits, std::uint64_t now) {
    limits_ = limits;
    policy_.change(limits.restart);
    if (service_ != Service::none) watch_.begin(limits_.watch, now);
    if (limits.standby && service_ == Service::serving && next_ == Next::none) standby_at_ = 0;
    if (!limits.standby) {
        standby_at_ = never;
        if (next_ != Next::none && purpose_ == Purpose::standby) {
            hands_.drop_next();
            next_ = Next::none;
        }
    }
    changed_ = true;
}

// --- the next VMM

void VmLife::load(const char* module, Purpose purpose) {
    if (next_ != Next::none) hands_.drop_next();
    if (module != next_vmm_) copy_text(next_vmm_, module);
    next_ = Next::loading;
    purpose_ = purpose;
    standby_at_ = never;
    hands_.begin_load(next_vmm_);
}

void VmLife::loaded(std::uint64_t now) {
    next_ = Next::ready;
    if (service_ == Service::none) {
        // What is being copied must not be changed by a VMM that attaches to it.
        if (copy_ == Copy::none) take_over(now);
    } else if (purpose_ == Purpose::wish && service_ == Service::serving) {
        hand_over(now);
    }
}

void VmLife::load_failed(const Failure& why, std::uint64_t now) {
    next_ = Next::none;
    hands_.drop_next();
    const bool wished = purpose_ == Purpose::wish;
    if (wished) fail_task(why.kind, "VMM {}: {}", next_vmm_, why.text);
    if (state_ == VmState::frozen || service_ == Service::serving) {
        // A standby is tried again, as memory may come back.
        if (!wished) standby_at_ = now + 1000 * limits_.ticks_per_ms;
        return;
    }
    if (state_ == VmState::starting) return fail(why);
    // It was wished for, and the one before has died meanwhile.
    if (wished) return load(vmm_, Purpose::service);
    freeze(why.text);
}

// The one that serves finishes its exit and gets no other.
void VmLife::hand_over(std::uint64_t now) {
    hands_.unbind();
    no_vmm_since_ = now;
    service_ = Service::finishing;
    poll_step_ = limits_.poll;
    changed_ = true;
}

void VmLife::take_over(std::uint64_t now) {
    bury();
    if (service_ != Service::none) {
        has_retired_ = true;
        retired_lives_ = service_ == Service::finishing;
    }
    Failure why;
    // First: a VMM that looks at the vCPU finds it where the state of a VM that was saved says that it is.
    if (!started_) {
        started_ = true;
        if (!hands_.start_guest(why)) return fail(why);
    }
    if (!hands_.take_over(why)) {
        next_ = Next::none;
        service_ = Service::none;
        if (state_ == VmState::starting) return fail(why);
        return freeze(why.text);
    }
    // As a whole: the successor may wait for this core.
    std::memcpy(old_vmm_, vmm_, sizeof(vmm_));
    std::memcpy(vmm_, next_vmm_, sizeof(vmm_));
    next_ = Next::none;
    service_ = Service::attaching;
    killed_for_ = KilledFor::nothing;
    poll_at_ = never;
    watch_.begin(limits_.watch, now);
    if (state_ == VmState::frozen) {
        state_ = VmState::running;
        was_frozen_ = true;
    }
    changed_ = true;
}

void VmLife::serving(std::uint64_t now) {
    service_ = Service::serving;
    retired_lives_ = false;
    was_frozen_ = false;
    if (has_retired_ || task_ == Task::replace) {
        blackout_ = now - no_vmm_since_;
        bury_at_ = now + limits_.head_start;
    }
    if (state_ == VmState::starting) {
        state_ = VmState::running;
        complete();
    }
    if (limits_.standby && next_ == Next::none) standby_at_ = now + 2 * limits_.head_start;
}

// --- what happens to it

void VmLife::look(const VmSample& s) {
    changed_ = false;
    if (!is_active() || state_ == VmState::frozen || guest_ != GuestPart::whole) return;
    if (started_ && s.guest_dead) return guest_ended(s);
    const bool refuses = service_ == Service::attaching && s.phase == VmmPhase::refused &&
                         killed_for_ == KilledFor::nothing;
    // An exit of the guest ends it as well, and may come first.
    if (refuses) killed_for_ = KilledFor::refusal;
    if (service_ != Service::none && s.vmm_dead) return vmm_died(s);
    if (service_ == Service::attaching && s.phase == VmmPhase::serving) serving(s.now);
    if (refuses) {
        hands_.kill();
        changed_ = true;
        return;
    }
    if (s.now >= bury_at_) {
        bury_at_ = never;
        buries_ = has_retired_;
        replaced();
    }
    if (s.now >= watch_.next_look() && !watch(s)) return;
    if (s.now >= standby_at_ && service_ == Service::serving && next_ == Next::none)
        load(vmm_, Purpose::standby);
    progress(s);
}

// Soon at first, as most waits are short, then less often.
void VmLife::poll(std::uint64_t now) {
    constexpr std::uint64_t longest = 32;
    poll_at_ = now + poll_step_;
    poll_step_ = std::min(2 * poll_step_, longest * limits_.poll);
}

void VmLife::progress(const VmSample& s) {
    poll_at_ = never;
    if (service_ == Service::finishing) {
        if (!s.in_service) return take_over(s.now);
        poll(s.now);
    }
    if (task_ == Task::suspend) {
        if (s.at_rest) return complete();
        poll(s.now);
    }
    if (task_ == Task::save && copy_ == Copy::none) {
        if (!s.at_rest) {
            poll(s.now);
            return;
        }
        Failure why;
        if (hands_.begin_copy(true, why)) {
            copy_ = Copy::out;
            return;
        }
        fail_task(why.kind, "it cannot be saved: {}", why.text);
        if (rests_for_save_) (void)hands_.resume_vcpu();
        rests_for_save_ = false;
    }
}

bool VmLife::watch(const VmSample& s) {
    // Not as the VMM says: one that said it started, again and again, would never be found.
    const bool starts = service_ == Service::attaching;
    switch (watch_.look({s.now, s.waited, starts, s.placed, s.pending ? exit_of(s) : 0})) {
    case WatchFinding::well: return true;
    case WatchFinding::start_hangs: killed_for_ = KilledFor::start; break;
    case WatchFinding::exit_hangs: killed_for_ = KilledFor::exit; break;
    }
    hands_.kill();
    changed_ = true;
    return false;
}

void VmLife::cause_of(const VmSample& s, char (&to)[104]) {
    switch (killed_for_) {
    case KilledFor::refusal: return hands_.read_reason(to);
    case KilledFor::start: return copy_text(to, "it did not begin to serve in time");
    case KilledFor::exit:
        if (service_ == Service::finishing)
            return write(to, "it did not finish exit {}", s.sequence);
        return copy_text(to, "it did not answer an exit in time");
    case KilledFor::test: return copy_text(to, "killed for a test");
    case KilledFor::nothing: break;
    }
    copy_text(to, s.phase == VmmPhase::starting ? "it died before it served" : "it died");
}

void VmLife::vmm_died(const VmSample& s) {
    if (s.phase == VmmPhase::failed) return guest_ended(s);
    changed_ = true;
    watch_.end();
    if (service_ == Service::attaching && task_ == Task::replace) return successor_failed(s);
    replaced();
    bury();
    cause_of(s, cause_);
    died_at_ = exit_of(s);
    ++restarts_;
    no_vmm_since_ = s.now;
    has_retired_ = true;
    retired_lives_ = false;
    const bool refused = killed_for_ == KilledFor::refusal;
    const bool for_test = killed_for_ == KilledFor::test;
    service_ = Service::none;
    if (for_test)
        replace_dead(vmm_, s.now);
    else
        decide(s, refused);
    // A standby tells when it serves. To look before that would only keep the core from it.
    if (service_ == Service::attaching && task_ == Task::none) changed_ = false;
}

void VmLife::decide(const VmSample& s, bool refused) {
    const bool at_exit = s.pending || s.phase == VmmPhase::starting;
    switch (policy_.vmm_died(
        {exit_of(s), at_exit, refused, s.now / limits_.ticks_per_ms, s.suspects})) {
    case RestartDecision::same: return replace_dead(vmm_, s.now);
    case RestartDecision::fallback: return replace_dead(fallback_, s.now);
    case RestartDecision::freeze: return freeze(policy_.reason());
    }
}

// Of the build that somebody wished for, if that is on its way.
void VmLife::replace_dead(const char* module, std::uint64_t now) {
    const bool fits = next_ != Next::none && (purpose_ == Purpose::wish || same(next_vmm_, module));
    if (!fits) return load(module, Purpose::service);
    if (next_ == Next::ready && copy_ == Copy::none) return take_over(now);
}

// A planned replacement whose successor refuses, dies or does not begin.
void VmLife::successor_failed(const VmSample& s) {
    const bool refused = killed_for_ == KilledFor::refusal;
    char text[104];
    cause_of(s, text);
    if (refused)
        write(reason_, "VMM {} refuses: {}", vmm_, text);
    else
        write(reason_, "VMM {} {}", vmm_,
              s.phase == VmmPhase::starting ? "did not begin to serve" : "died");
    fail_task(FailureKind::failed, "{}", reason_);
    killed_for_ = KilledFor::nothing;
    if (refused && retired_lives_) {
        // Nothing was touched: the old one goes on as if it had not been asked.
        hands_.take_back();
        copy_text(vmm_, old_vmm_);
        has_retired_ = retired_lives_ = false;
        service_ = Service::serving;
        watch_.begin(limits_.watch, s.now);
        if (limits_.standby) standby_at_ = s.now + limits_.head_start;
        return;
    }
    copy_text(cause_, reason_);
    died_at_ = exit_of(s);
    if (was_frozen_) return freeze(reason_);
    // It may have begun to handle an exit: a fresh process of the old build rolls that back.
    if (has_retired_) hands_.bury("", 0);
    has_retired_ = true;
    retired_lives_ = false;
    service_ = Service::none;
    load(old_vmm_, Purpose::service);
}

// Whoever waits for the answer hears of it when the successor had its head start: to answer takes the core as
// well.
void VmLife::replaced() {
    if (task_ != Task::replace || service_ != Service::serving || next_ != Next::none) return;
    policy_.begin_anew();
    reason_[0] = 0;
    complete();
}

void VmLife::bury() {
    bury_at_ = never;
    if (!has_retired_) return;
    // The dead one is still the active one until another took over.
    if (service_ == Service::none) return;
    hands_.bury(cause_, died_at_);
    buried();
}

void VmLife::buried() {
    cause_[0] = 0;
    has_retired_ = retired_lives_ = buries_ = false;
}

void VmLife::bury_piece() {
    if (hands_.bury_piece(cause_, died_at_) == Piece::done) buried();
}

void VmLife::freeze(const char* reason) {
    if (reason != reason_) copy_text(reason_, reason);
    fail_task(FailureKind::failed, "{}", reason_);
    hands_.end_copy();
    hands_.freeze(cause_, died_at_, reason_);
    if (rests_for_save_) (void)hands_.resume_vcpu();
    copy_ = Copy::none;
    rests_for_save_ = false;
    cause_[0] = 0;
    state_ = VmState::frozen;
    service_ = Service::none;
    next_ = Next::none;
    has_retired_ = retired_lives_ = buries_ = was_frozen_ = false;
    bury_at_ = standby_at_ = poll_at_ = never;
    watch_.end();
    if (limits_.ends.keeps_frozen) return;
    hands_.say_ended(reason_, false);
    leave();
    state_ = VmState::failed;
}

void VmLife::fail(const Failure& why) {
    copy_text(reason_, why.text);
    if (task_ != Task::none) {
        task_ = Task::none;
        ended_ = why;
    }
    hands_.say_ended(reason_, false);
    leave();
    state_ = VmState::failed;
}

// One that could not even be loaded, or that sleeps for good, would do the same again. Who ends too often has failed:
// the bound is that of its VMMs.
bool VmLife::may_begin_anew(const VmSample& s) {
    const bool wanted = s.outcome == VmOutcome::reset    ? limits_.ends.restarts_on_reset
                        : s.outcome == VmOutcome::failed ? limits_.ends.restarts_on_crash
                                                         : false;
    if (!wanted || s.phase == VmmPhase::failed) return false;
    const std::uint64_t now_ms = s.now / limits_.ticks_per_ms;
    if (ends_ == 0 || now_ms - ends_since_ >= limits_.restart.window_ms) {
        ends_since_ = now_ms;
        ends_ = 0;
    }
    return ++ends_ <= limits_.restart.count;
}

void VmLife::guest_ended(const VmSample& s) {
    replaced();
    char why[104];
    hands_.read_reason(why);
    const VmOutcome outcome = s.phase == VmmPhase::failed ? VmOutcome::failed : s.outcome;
    const bool well = outcome == VmOutcome::powered_off;
    switch (outcome) {
    case VmOutcome::powered_off: copy_text(reason_, "powered off"); break;
    case VmOutcome::reset: copy_text(reason_, "it reset itself"); break;
    case VmOutcome::failed:
    case VmOutcome::halted: copy_text(reason_, why); break;
    case VmOutcome::running: copy_text(reason_, "an exit had no handler"); break;
    }
    char reason[128];
    copy_text(reason, reason_);
    fail_task(FailureKind::failed, "the guest ended: {}", reason);
    if (service_ != Service::none) bury();
    if (may_begin_anew(s)) {
        hands_.say_begins_anew(reason);
        leave();
        (void)make(false, s.now);
        changed_ = true;
        return;
    }
    hands_.say_ended(reason, well);
    leave();
    state_ = well ? VmState::shut_off : VmState::failed;
}

// --- work in pieces

Work VmLife::work() const {
    if (waits_) return Work::none;
    if (guest_ == GuestPart::going) return Work::ending;
    if (!is_active()) return Work::none;
    if (copy_ != Copy::none || guest_ == GuestPart::growing) return Work::waited;
    if (next_ == Next::loading && service_ == Service::none)
        return state_ == VmState::starting ? Work::waited : Work::urgent;
    return next_ == Next::loading || buries_ ? Work::leisurely : Work::none;
}

void VmLife::do_piece(std::uint64_t now) {
    Failure why;
    if (guest_ == GuestPart::going) return end_piece();
    if (guest_ == GuestPart::growing) {
        switch (hands_.guest_piece(why)) {
        case Piece::more: return;
        case Piece::waits: waits_ = true; return;
        case Piece::done: return grown();
        case Piece::failed: return fail(why);
        }
    }
    if (copy_ != Copy::none) {
        switch (hands_.copy_piece(why)) {
        case Piece::waits:
        case Piece::more: return;
        case Piece::done: return copied(now);
        case Piece::failed: break;
        }
        hands_.end_copy();
        const bool in = copy_ == Copy::in;
        copy_ = Copy::none;
        if (in) return fail(why);
        fail_task(why.kind, "it cannot be saved: {}", why.text);
        return copied(now);
    }
    if (buries_ && service_ != Service::none) return bury_piece();
    if (next_ != Next::loading) return;
    switch (hands_.load_piece(why)) {
    case Piece::waits:
    case Piece::more: return;
    case Piece::done: return loaded(now);
    case Piece::failed: return load_failed(why, now);
    }
}

void VmLife::copied(std::uint64_t now) {
    const bool in = copy_ == Copy::in;
    copy_ = Copy::none;
    hands_.end_copy();
    if (in) return load(configured_vmm_, Purpose::service);
    if (rests_for_save_) (void)hands_.resume_vcpu();
    rests_for_save_ = false;
    if (task_ == Task::save) complete();
    if (service_ != Service::none)
        watch_.begin(limits_.watch, now);
    else if (next_ == Next::ready)
        take_over(now);
    changed_ = true;
}

std::uint64_t VmLife::next_look() const {
    if (!is_active() || state_ == VmState::frozen || guest_ != GuestPart::whole) return never;
    if (changed_) return 0;
    return std::min(std::min(bury_at_, poll_at_), std::min(standby_at_, watch_.next_look()));
}

}  // namespace margay::init

// What operators ask of a VM's life, and what becomes of a task.
#include "servers/init/life/vm_life.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

namespace {

Failure refusal(FailureKind kind, const char* text) {
    Failure f;
    f.set(kind, "{}", text);
    return f;
}

}  // namespace

Failure VmLife::begin(Task task) {
    poll_step_ = limits_.poll;
    task_ = task;
    ended_ = Failure{};
    ++ticket_;
    return {};
}

void VmLife::complete() {
    task_ = Task::none;
    ended_ = Failure{};
}

void VmLife::fail_task(FailureKind kind, std::string_view format, const char* a, const char* b) {
    if (task_ == Task::none) return;
    task_ = Task::none;
    ended_.set(kind, format, a, b);
}

Failure VmLife::begin_guest(Task task, std::uint64_t now) {
    (void)begin(task);
    ends_ = 0;
    return make(task == Task::restore, now) ? Failure{} : ended_;
}

bool VmLife::make(bool restored, std::uint64_t now) {
    reason_[0] = 0;
    restarts_ = blackout_ = 0;
    policy_ = RestartPolicy{limits_.restart};
    started_ = suspended_ = was_frozen_ = false;
    no_vmm_since_ = now;
    state_ = VmState::starting;
    is_restored_ = restored;
    return guest_ == GuestPart::going || grow();
}

bool VmLife::grow() {
    Failure why;
    guest_ = GuestPart::growing;
    if (hands_.begin_guest(is_restored_, why)) return true;
    fail(why);
    return false;
}

void VmLife::grown() {
    Failure why;
    guest_ = GuestPart::whole;
    if (!is_restored_) return load(configured_vmm_, Purpose::service);
    if (!hands_.begin_copy(false, why)) return fail(why);
    copy_ = Copy::in;
}

Failure VmLife::start(std::uint64_t now) {
    if (is_active()) return refusal(FailureKind::wrong_state, "it is active already");
    return begin_guest(Task::start, now);
}

Failure VmLife::restore(std::uint64_t now) {
    if (is_active()) (void)destroy();
    return begin_guest(Task::restore, now);
}

Failure VmLife::destroy() {
    if (!is_active()) return refusal(FailureKind::wrong_state, "it is not active");
    if (task_ != Task::none) ousted_ = ticket_;
    state_ = VmState::shut_off;
    copy_text(reason_, "destroyed");
    leave();
    return begin(Task::end);
}

// Nothing of it runs any more; what it has goes back in pieces. A dead VMM whose report is due has it first.
void VmLife::leave() {
    buries_ = has_retired_ && (buries_ || service_ != Service::none);
    has_retired_ = buries_;
    if (!buries_) cause_[0] = 0;
    hands_.end_copy();
    if (guest_ != GuestPart::going) hands_.stop_guest();
    guest_ = GuestPart::going;
    waits_ = false;
    copy_ = Copy::none;
    next_ = Next::none;
    service_ = Service::none;
    suspended_ = rests_for_save_ = retired_lives_ = false;
    bury_at_ = standby_at_ = poll_at_ = never;
    watch_.end();
}

void VmLife::end_piece() {
    if (buries_) return bury_piece();
    const Piece piece = hands_.drop_piece();
    waits_ = piece == Piece::waits;
    if (piece != Piece::done) return;
    guest_ = GuestPart::none;
    if (task_ == Task::end) complete();
    if (state_ == VmState::starting) (void)grow();
}

void VmLife::end_rest() {
    while (guest_ == GuestPart::going && !waits_) end_piece();
    if (buries_) bury();
}

Failure VmLife::suspend() {
    if (state_ != VmState::running) return refusal(FailureKind::wrong_state, "it is not running");
    if (suspended_) return refusal(FailureKind::wrong_state, "it is suspended already");
    if (task_ != Task::none) return refusal(FailureKind::busy, "something else is under way");
    if (!hands_.suspend_vcpu()) return refusal(FailureKind::failed, "its vCPU cannot be suspended");
    suspended_ = true;
    changed_ = true;
    return begin(Task::suspend);
}

Failure VmLife::resume(std::uint64_t now) {
    if (state_ != VmState::running) return refusal(FailureKind::wrong_state, "it is not running");
    if (!suspended_) return refusal(FailureKind::wrong_state, "it is not suspended");
    if (task_ != Task::none && task_ != Task::suspend)
        return refusal(FailureKind::busy, "something else is under way");
    fail_task(FailureKind::failed, "it was resumed");
    if (!hands_.resume_vcpu()) return refusal(FailureKind::failed, "its vCPU cannot be resumed");
    suspended_ = false;
    if (service_ != Service::none) watch_.begin(limits_.watch, now);
    return {};
}

Failure VmLife::save() {
    if (state_ != VmState::running || service_ != Service::serving)
        return refusal(FailureKind::wrong_state, "it is not running");
    if (task_ != Task::none) return refusal(FailureKind::busy, "something else is under way");
    if (!suspended_) {
        if (!hands_.suspend_vcpu())
            return refusal(FailureKind::failed, "its vCPU cannot be suspended");
        rests_for_save_ = true;
    }
    changed_ = true;
    return begin(Task::save);
}

Failure VmLife::replace_vmm(const char* module, std::uint64_t now) {
    if (state_ != VmState::running && state_ != VmState::frozen)
        return refusal(FailureKind::wrong_state, "it is not running");
    if (task_ != Task::none) return refusal(FailureKind::busy, "something else is under way");
    if (state_ == VmState::running && service_ != Service::serving)
        return refusal(FailureKind::busy, "its VMM is being restarted");
    if (module == nullptr) module = vmm_;
    (void)begin(Task::replace);
    bury();
    if (next_ == Next::ready && same(next_vmm_, module)) {
        purpose_ = Purpose::wish;
        hand_over(now);
        return {};
    }
    load(module, Purpose::wish);
    return {};
}

void VmLife::kill_for_test() {
    if (service_ != Service::serving || killed_for_ != KilledFor::nothing) return;
    killed_for_ = KilledFor::test;
    hands_.kill();
}

}  // namespace margay::init

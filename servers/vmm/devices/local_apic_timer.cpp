// The local APIC's timer: one-shot, periodic, TSC deadline.

#include "servers/vmm/devices/local_apic.hpp"
#include "servers/vmm/devices/local_apic_bits.hpp"

namespace margay::vmm {

namespace {

std::uint32_t mode_of(const LocalApicState& state) noexcept {
    return state.lvt[apic::lvt_timer] & apic::timer_mode;
}

}  // namespace

/// The input clock's divisor is 2^this: the register's bits 0, 1, 3 count 2, 4, …, 128, 1.
unsigned LocalApic::divide_shift() const noexcept {
    return (((state_->timer_divide & 3) | (state_->timer_divide & 8) >> 1) + 1) & 7;
}

/// What has run out by now has run out before the registers change, though its exit is still to come.
void LocalApic::expire_if_due() {
    if (state_->deadline_ns != no_deadline) {
        expire(clock_.now_ns());
    }
}

void LocalApic::start_timer(std::uint32_t initial) {
    if (mode_of(*state_) == apic::timer_tsc_deadline) {
        return;
    }
    const auto now = clock_.now_ns();
    if (now >= state_->deadline_ns) {
        expire(now);
    }
    auto& state = state_.edit();
    state.timer_initial = initial;
    state.deadline_ns = deadline_after(now, initial);
}

std::uint64_t LocalApic::deadline_after(std::uint64_t now_ns, std::uint32_t left) const noexcept {
    return left == 0 ? no_deadline : now_ns + (static_cast<std::uint64_t>(left) << divide_shift());
}

/// Count down from `left`, starting now.
void LocalApic::rescale_timer(std::uint32_t left) {
    if (mode_of(*state_) == apic::timer_tsc_deadline) {
        return;
    }
    state_.edit().deadline_ns = deadline_after(clock_.now_ns(), left);
}

std::uint32_t LocalApic::timer_current() {
    if (mode_of(*state_) == apic::timer_tsc_deadline || state_->deadline_ns == no_deadline) {
        return 0;
    }
    const auto now = clock_.now_ns();
    const auto shift = divide_shift();
    if (now < state_->deadline_ns) {
        const auto left = state_->deadline_ns - now;
        return static_cast<std::uint32_t>((left + (1ULL << shift) - 1) >> shift);
    }
    if (mode_of(*state_) == apic::timer_one_shot) {
        return 0;
    }
    const auto period = static_cast<std::uint64_t>(state_->timer_initial) << shift;
    const auto late = (now - state_->deadline_ns) % (period == 0 ? 1 : period);
    return static_cast<std::uint32_t>((period - late) >> shift);
}

/// Entering or leaving TSC-deadline mode disarms (SDM vol. 3 §11.5.4.1).
void LocalApic::timer_mode_changed(std::uint32_t before) {
    const auto was_deadline = (before & apic::timer_mode) == apic::timer_tsc_deadline;
    const auto is_deadline = mode_of(*state_) == apic::timer_tsc_deadline;
    if (was_deadline != is_deadline) {
        auto& state = state_.edit();
        state.deadline_ns = no_deadline;
        state.tsc_deadline = 0;
        state.timer_initial = 0;
    }
}

void LocalApic::write_tsc_deadline(std::uint64_t value) {
    if (mode_of(*state_) != apic::timer_tsc_deadline) {
        return;
    }
    expire_if_due();
    state_.edit().tsc_deadline = value;
    arm_tsc_deadline();
}

void LocalApic::arm_tsc_deadline() {
    if (state_->tsc_deadline == 0) {
        state_.edit().deadline_ns = no_deadline;
        return;
    }
    const auto now_tsc = clock_.tsc();
    const auto now_ns = clock_.now_ns();
    if (state_->tsc_deadline <= now_tsc) {
        state_.edit().deadline_ns = now_ns;
        expire(now_ns);
        return;
    }
    const auto wait = time_.tsc_to_ns.ceil(state_->tsc_deadline - now_tsc);
    // Beyond some hundred years it is as good as never, and the sum must not wrap.
    state_.edit().deadline_ns =
        wait >> 62 != 0 || now_ns + wait < now_ns ? no_deadline - 1 : now_ns + wait;
}

void LocalApic::tsc_changed() {
    if (mode_of(*state_) == apic::timer_tsc_deadline) {
        arm_tsc_deadline();
    }
}

[[gnu::noinline]] void LocalApic::expire(std::uint64_t now_ns) {
    if (now_ns < state_->deadline_ns) {
        return;
    }
    if (mode_of(*state_) == apic::timer_periodic && state_->timer_initial != 0) {
        const auto period = static_cast<std::uint64_t>(state_->timer_initial) << divide_shift();
        auto& state = state_.edit();
        state.deadline_ns += ((now_ns - state.deadline_ns) / period + 1) * period;
    } else {
        auto& state = state_.edit();
        state.deadline_ns = no_deadline;
        state.tsc_deadline = 0;
    }
    const auto entry = state_->lvt[apic::lvt_timer];
    if ((entry & apic::lvt_masked) != 0) {
        return;
    }
    const auto vector = static_cast<std::uint8_t>(entry);
    if (vector < 16) {
        error(apic::error_receive_vector);
    } else {
        request(vector, false);
    }
}

}  // namespace margay::vmm

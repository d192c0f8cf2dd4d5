#pragma once

#include "servers/vmm/cpu/kvm_clock_state.hpp"
#include "servers/vmm/cpu/msr_result.hpp"
#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/devices/time_base.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// KVM's steal time (Linux Documentation/virt/kvm/x86/msr.rst): the guest reads in its memory for how long this vCPU was
/// ready to run and something else had its core, and whether it has lost the core right now. While it has, other vCPUs
/// ask there for what they would send it an interrupt for otherwise: that its translations be forgotten.
///
/// What is written for a time counts from the journaled state, so that writing it again after a roll-back does no harm.
/// The mark is not part of any transaction: see Turn.
class StealTime {
  public:
    StealTime(Journaled<KvmClockState> state, const TimeBase& time, GuestMemory& memory) noexcept
        : state_{state}, time_{time}, memory_{memory} {}

    /// MSR 0x4b564d03: address of 64 bytes at a multiple of that, bit 0 enable. #GP if a bit between is set. What the
    /// structure says already is added to. An address outside RAM is remembered and never written.
    [[nodiscard]] MsrResult write(std::uint64_t value);
    [[nodiscard]] std::uint64_t value() const noexcept { return state_->steal.msr; }
    [[nodiscard]] bool is_enabled() const noexcept { return (state_->steal.msr & 1) != 0; }

    /// In all the vCPU has waited so long by now, in ticks of the host's TSC. Tells the guest. What was before the guest
    /// asked for it, or before begin_anew(), does not count.
    void update(std::uint64_t waited);
    /// The count that update() gets begins again.
    void begin_anew() noexcept;

    /// The vCPU has lost its core. It is between two instructions, and will not execute another before clear_mark().
    void set_mark();
    /// It is about to go on. True: before that its translations must be forgotten.
    [[nodiscard]] bool clear_mark();

  private:
    [[nodiscard]] std::byte* page(std::uint64_t msr);

    Journaled<KvmClockState> state_;
    const TimeBase& time_;
    GuestMemory& memory_;
};

}  // namespace margay::vmm

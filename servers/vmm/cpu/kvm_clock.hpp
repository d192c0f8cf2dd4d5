#pragma once

#include "servers/vmm/cpu/kvm_clock_state.hpp"
#include "servers/vmm/cpu/msr_result.hpp"
#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// The KVM paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst): tells the guest its TSC frequency
/// and the relation of TSC to system time. Written when the guest gives an address; the TSC is stable, so it
/// needs no update unless the TSC jumps.
///
/// Both structures are written as a whole, with version numbers from the journaled state: writing them again
/// after a rollback gives what one write would have given, so they need no undo in guest RAM.
class KvmClock {
  public:
    KvmClock(Journaled<KvmClockState> state, std::uint64_t epoch_s, Clock& clock,
             GuestMemory& memory) noexcept
        : state_{state}, epoch_s_{epoch_s}, clock_{clock}, memory_{memory} {}

    static void reset(KvmClockState& state, std::uint64_t tsc_khz) noexcept;

    /// MSRs 0x4b564d01 (and 0x12): 32 bytes, 4-byte aligned. An address outside RAM is remembered and
    /// not written.
    void write_system_time(std::uint64_t value);
    /// MSRs 0x4b564d00 (and 0x11): 12 bytes.
    void write_wall_clock(std::uint64_t value);
    /// The guest's TSC jumped.
    void tsc_changed() { publish(); }

  private:
    void publish();

    Journaled<KvmClockState> state_;
    std::uint64_t epoch_s_;
    Clock& clock_;
    GuestMemory& memory_;
};

}  // namespace margay::vmm

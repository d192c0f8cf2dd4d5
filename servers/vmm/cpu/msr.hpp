#pragma once

#include "servers/vmm/cpu/kvm_clock.hpp"
#include "servers/vmm/cpu/msr_result.hpp"
#include "servers/vmm/cpu/msr_state.hpp"
#include "servers/vmm/cpu/steal_time.hpp"
#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/local_apic.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// MSRs that the VMM answers. Not here, because hardware or the vCPU glue holds them: EFER, STAR, LSTAR, CSTAR,
/// SFMASK, FS/GS bases, SYSENTER, DEBUGCTL. PAT is stored here; the glue copies pat() to the vCPU after a
/// write to it. TSC_AUX is storage that RDTSCP does not see: where hardware keeps it per vCPU, the glue passes
/// its accesses through instead.
class Msrs {
  public:
    Msrs(Journaled<MsrState> state, std::uint8_t physical_bits, Clock& clock, LocalApic& apic,
         KvmClock& kvm_clock, StealTime& steal_time) noexcept
        : state_{state},
          physical_bits_{physical_bits},
          clock_{clock},
          apic_{apic},
          kvm_clock_{kvm_clock},
          steal_time_{steal_time} {}

    static void reset(MsrState& state) noexcept;

    [[nodiscard]] MsrResult read(std::uint32_t index, std::uint64_t& value);
    [[nodiscard]] MsrResult write(std::uint32_t index, std::uint64_t value);

    [[nodiscard]] std::uint64_t pat() const noexcept { return state_->pat; }

    /// Accesses to registers that do not exist, since this VMM started.
    [[nodiscard]] std::uint64_t unknown() const noexcept { return unknown_; }

    /// Whether such an access is the VM's first to this register, and worth a log line. `last`: no others will be.
    enum class News : std::uint8_t { none, one, last };
    [[nodiscard]] News note_unknown(std::uint32_t index);

  private:
    [[nodiscard]] MsrResult read_other(std::uint32_t index, std::uint64_t& value);
    [[nodiscard]] MsrResult write_other(std::uint32_t index, std::uint64_t value);
    [[nodiscard]] MsrResult read_mtrr(std::uint32_t index, std::uint64_t& value) const noexcept;
    [[nodiscard]] MsrResult write_mtrr(std::uint32_t index, std::uint64_t value) noexcept;
    void move_tsc(std::uint64_t delta);

    Journaled<MsrState> state_;
    std::uint8_t physical_bits_;
    Clock& clock_;
    LocalApic& apic_;
    KvmClock& kvm_clock_;
    StealTime& steal_time_;
    std::uint64_t unknown_ = 0;
};

inline constexpr std::uint32_t msr_pat = 0x277;

}  // namespace margay::vmm

#pragma once

#include "servers/vmm/devices/pass_through.hpp"
#include "servers/vmm/devices/pci_host_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// PCI configuration mechanism 1 (PCI 3.0 §3.2.2.3.2) with a host bridge at 00:00.0 and the functions
/// that the guest drives itself, if it has any. Its identity is that of a generic bridge, for which no operating system has a
/// quirk.
class PciHost {
  public:
    /// `functions` null: there are none.
    explicit PciHost(Journaled<PciHostState> state, PassThrough* functions = nullptr) noexcept
        : state_{state}, functions_{functions} {}

    static void reset(PciHostState& state) noexcept;

    /// Port 0xcf8, 4 bytes.
    [[nodiscard]] std::uint32_t read_address() const noexcept { return state_->address; }
    void write_address(std::uint32_t value) noexcept;

    /// Ports 0xcfc..0xcff; width 1, 2 or 4, not crossing the four bytes.
    [[nodiscard]] std::uint32_t read_data(unsigned offset, unsigned width) const noexcept;
    void write_data(unsigned offset, unsigned width, std::uint32_t value);

  private:
    static constexpr std::uint32_t enable = 0x8000'0000;

    [[nodiscard]] std::uint8_t config_byte(unsigned reg) const noexcept;

    /// Those that are there may be addressed: function 0 of a device on bus 0, which is not the bridge.
    [[nodiscard]] bool is_function() const noexcept {
        return functions_ != nullptr && (state_->address & enable) != 0 &&
               (state_->address & 0x00ff'0700) == 0;
    }
    [[nodiscard]] unsigned device() const noexcept { return state_->address >> 11 & 0x1f; }

    Journaled<PciHostState> state_;
    PassThrough* functions_;
};

}  // namespace margay::vmm

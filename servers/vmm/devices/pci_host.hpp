#pragma once

#include "servers/vmm/devices/pci_host_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// PCI configuration mechanism 1 (PCI 3.0 §3.2.2.3.2) with a host bridge at 00:00.0 and nothing else.
/// Its identity is that of a generic bridge, for which no operating system has a quirk.
class PciHost {
  public:
    explicit PciHost(Journaled<PciHostState> state) noexcept : state_{state} {}

    static void reset(PciHostState& state) noexcept;

    /// Port 0xcf8, 4 bytes.
    [[nodiscard]] std::uint32_t read_address() const noexcept { return state_->address; }
    void write_address(std::uint32_t value) noexcept;

    /// Ports 0xcfc..0xcff; width 1, 2 or 4, not crossing the four bytes.
    [[nodiscard]] std::uint32_t read_data(unsigned offset, unsigned width) const noexcept;
    void write_data(unsigned offset, unsigned width, std::uint32_t value) noexcept;

  private:
    [[nodiscard]] std::uint8_t config_byte(unsigned reg) const noexcept;

    Journaled<PciHostState> state_;
};

}  // namespace margay::vmm

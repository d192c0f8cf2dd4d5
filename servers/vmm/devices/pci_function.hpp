#pragma once

#include "servers/vmm/devices/pci_function_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// A function as the machine has it, read when it was claimed. Nothing of it changes while the guest has it.
struct RealFunction {
    static constexpr unsigned bars = 6, config_bytes = 256;
    struct Bar {
        std::uint64_t
            size;  ///< bytes, a power of two; 0: there is none, or it is the upper half of the one before
        std::uint8_t flags;  ///< the low bits that the register reads
        bool is_wide;
    };
    std::uint8_t config[config_bytes];
    Bar bar[bars];
};

/// Which of the guest's writes have to become something.
struct PciEffect {
    bool mapping = false;     ///< BARs may have moved, or decoding or the power state changed
    bool bus_master = false;  ///< of the real function: PciFunction::may_master()
    bool messages = false;    ///< MSI or MSI-X: on, off, masked, other targets
    bool reset = false;       ///< the guest resets its function
};

/// The configuration space of a function that the guest drives directly (PCI local bus specification 3.0 chapter 6).
/// Identity and capabilities are the function's own, at their own offsets; what the guest sets is its own: no write reaches
/// the hardware from here. Capabilities that reach beyond the function, or that nobody emulates, are not in the list, and their
/// registers read zero. It has no interrupt pin, no expansion ROM and no extended space.
class PciFunction {
  public:
    PciFunction(const RealFunction& real, Journaled<PciFunctionState> state) noexcept;

    /// As after power-on, or a function level reset.
    static void reset(PciFunctionState& state) noexcept { state = {}; }

    /// `reg` below 256; `width` 1, 2 or 4, not crossing four bytes.
    [[nodiscard]] std::uint32_t read(unsigned reg, unsigned width) const noexcept;
    [[nodiscard]] PciEffect write(unsigned reg, unsigned width, std::uint32_t value) noexcept;

    /// Where the guest has put a BAR; only while it decodes and is awake. ~0: it is not mapped.
    [[nodiscard]] std::uint64_t memory_bar(unsigned bar) const noexcept;
    [[nodiscard]] std::uint64_t port_bar(unsigned bar) const noexcept;
    /// Whether it may begin transactions.
    [[nodiscard]] bool may_master() const noexcept;

    [[nodiscard]] bool has_msix() const noexcept { return msix_ != 0; }
    [[nodiscard]] bool msix_on() const noexcept { return (state_->msix_control >> 15 & 1) != 0; }
    [[nodiscard]] bool msix_masked() const noexcept {
        return (state_->msix_control >> 14 & 1) != 0;
    }
    [[nodiscard]] bool msi_on() const noexcept { return (state_->msi_control & 1) != 0; }

  private:
    static constexpr unsigned most_capabilities = 16;
    struct Capability {
        std::uint8_t id, at, bytes;
    };

    void find_capabilities() noexcept;
    [[nodiscard]] unsigned bytes_of(unsigned id, unsigned at) const noexcept;
    [[nodiscard]] std::uint8_t byte(unsigned reg) const noexcept;
    [[nodiscard]] std::uint8_t capability_byte(unsigned reg) const noexcept;
    [[nodiscard]] std::uint8_t msi_byte(unsigned offset) const noexcept;
    [[nodiscard]] std::uint32_t bar_register(unsigned bar) const noexcept;
    [[nodiscard]] std::uint64_t address_of(unsigned bar) const noexcept;
    [[nodiscard]] bool msi_is_wide() const noexcept;
    void write_byte(unsigned reg, std::uint8_t value, PciEffect& effect) noexcept;
    void write_bar(unsigned bar, unsigned lane, std::uint8_t value) noexcept;
    void write_capability(const Capability& c, unsigned offset, std::uint8_t value,
                          PciEffect& effect) noexcept;
    void write_msi(unsigned offset, std::uint8_t value, PciEffect& effect) noexcept;

    const RealFunction& real_;
    Journaled<PciFunctionState> state_;
    Capability capability_[most_capabilities] = {};
    unsigned capabilities_ = 0;
    std::uint8_t msix_ = 0, msi_ = 0;
};

}  // namespace margay::vmm

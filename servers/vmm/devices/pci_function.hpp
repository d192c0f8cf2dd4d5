#pragma once

#include "servers/vmm/devices/msi.hpp"
#include "servers/vmm/devices/pci_function_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// Which of the guest's writes have to become something.
struct PciEffect {
    bool mapping = false;     ///< BARs may have moved, or decoding or the power state changed
    bool bus_master = false;  ///< of the real function: PciFunction::wish()
    bool messages = false;    ///< which are on, and which are masked
    bool reset = false;       ///< the guest resets its function
};

/// The configuration space of a function that the guest drives directly (PCI local bus specification 3.0 chapter 6).
/// Identity and capabilities are the function's own, at their own offsets; what the guest sets is its own: no write reaches
/// the hardware from here. Capabilities that reach beyond the function, or that nobody emulates, are not in the list, and their
/// registers read zero. It interrupts by MSI-X, by MSI, by a line if it was given one, or not at all, and has no expansion ROM and no
/// extended space.
class PciFunction {
  public:
    static constexpr std::uint64_t nowhere = ~std::uint64_t{0};

    /// `number`: its place in the state, below max_guest_functions.
    PciFunction(const GuestFunction& real, unsigned number,
                Journaled<PciFunctionsState> state) noexcept;

    /// As after power-on, or a function level reset. The count of resets stays, and that the node waits for its line to be
    /// acknowledged.
    static void reset(PciFunctionState& state) noexcept {
        const std::uint32_t resets = state.resets;
        const std::uint8_t line_fired = state.line_fired;
        state = {};
        state.resets = resets;
        state.line_fired = line_fired;
    }

    /// `reg` below 256; `width` 1, 2 or 4, not crossing four bytes.
    [[nodiscard]] std::uint32_t read(unsigned reg, unsigned width) const noexcept;
    [[nodiscard]] PciEffect write(unsigned reg, unsigned width, std::uint32_t value) noexcept;

    /// Where the guest has put a BAR; only while it decodes and is awake. Else `nowhere`.
    [[nodiscard]] std::uint64_t memory_bar(unsigned bar) const noexcept;
    /// Likewise of one with I/O ports: the first.
    [[nodiscard]] std::uint64_t port_bar(unsigned bar) const noexcept;
    /// Whether it may begin transactions.
    [[nodiscard]] bool may_master() const noexcept;
    /// How the real function is to be (function_wish).
    [[nodiscard]] std::uint64_t wish() const noexcept;

    /// How the guest has it interrupt. It must not turn both on (§6.8.3.1); MSI-X counts then.
    [[nodiscard]] PciInterrupts interrupts() const noexcept;
    /// Its interrupt line among those of the VM, 1 for the first; 0: it has none.
    [[nodiscard]] unsigned line() const noexcept { return real_.line; }
    [[nodiscard]] bool line_fired() const noexcept { return now().line_fired != 0; }
    void set_line_fired(bool fired) noexcept {
        if (line_fired() != fired) edit().line_fired = fired ? 1 : 0;
    }
    [[nodiscard]] Msi& msi() noexcept { return msi_; }
    [[nodiscard]] bool msix_on() const noexcept { return (now().msix_control >> 15 & 1) != 0; }
    [[nodiscard]] bool msix_masked() const noexcept { return (now().msix_control >> 14 & 1) != 0; }
    /// Entries of the real table, which may be more than the guest is shown; 0: there is none.
    [[nodiscard]] unsigned real_messages() const noexcept;

  private:
    static constexpr unsigned most_capabilities = 16;
    struct Capability {
        std::uint8_t id, at, bytes;
    };

    void find_capabilities() noexcept;
    [[nodiscard]] bool is_shown(unsigned id) const noexcept;
    [[nodiscard]] std::uint16_t real_control(unsigned at) const noexcept;
    [[nodiscard]] unsigned bytes_of(unsigned id, unsigned at) const noexcept;
    [[nodiscard]] std::uint8_t byte(unsigned reg) const noexcept;
    [[nodiscard]] std::uint8_t capability_byte(unsigned reg) const noexcept;
    [[nodiscard]] std::uint32_t bar_register(unsigned bar) const noexcept;
    [[nodiscard]] bool is_wide(unsigned bar) const noexcept;
    [[nodiscard]] const PciFunctionState& now() const noexcept { return state_->function[number_]; }
    [[nodiscard]] PciFunctionState& edit() noexcept { return state_.edit().function[number_]; }
    void write_byte(unsigned reg, std::uint8_t value, PciEffect& effect) noexcept;
    void write_bar(unsigned bar, unsigned lane, std::uint8_t value) noexcept;
    void write_capability(const Capability& c, unsigned offset, std::uint8_t value,
                          PciEffect& effect) noexcept;

    const GuestFunction& real_;
    unsigned number_;
    Journaled<PciFunctionsState> state_;
    Msi msi_;
    Capability capability_[most_capabilities] = {};
    unsigned capabilities_ = 0;
    std::uint8_t msix_ = 0;  // where its capability is, shown or not; 0: it has none
};

}  // namespace margay::vmm

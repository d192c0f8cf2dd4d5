#pragma once

#include <cstdint>

namespace margay::vmm {

/// Of PCI functions that the guest drives, as inputs of the I/O APIC: from this one on.
inline constexpr unsigned first_function_line = 16;

/// The ISA interrupt lines, and those of PCI functions, as devices see them. "Asserted" is meant logically, whatever the polarity.
class IrqLines {
  public:
    /// `irq` 0..15, or one of a PCI function. Setting a line to the level it has is harmless.
    virtual void set_irq_line(unsigned irq, bool asserted) = 0;

    /// Assert and release: one edge.
    void pulse(unsigned irq) {
        set_irq_line(irq, true);
        set_irq_line(irq, false);
    }

  protected:
    ~IrqLines() = default;
};

}  // namespace margay::vmm

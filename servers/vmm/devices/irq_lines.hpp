#pragma once

#include <cstdint>

namespace margay::vmm {

/// The ISA interrupt lines as devices see them. "Asserted" is meant logically, whatever the polarity.
class IrqLines {
  public:
    /// `irq` 0..15. Setting a line to the level it has is harmless.
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

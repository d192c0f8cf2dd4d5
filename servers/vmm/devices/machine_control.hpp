#pragma once

namespace margay::vmm {

/// What a guest can ask of its whole machine. The calls only record the wish: the device access that made
/// it completes first, and may come again before the VM stops.
class MachineControl {
  public:
    virtual void power_off() = 0;
    virtual void reset() = 0;

  protected:
    ~MachineControl() = default;
};

}  // namespace margay::vmm

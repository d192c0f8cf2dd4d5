#pragma once

namespace margay::vmm {

/// What a guest can ask of its whole machine. The calls only record the wish: the device access that made
/// it completes first, and may come again before the VM stops.
class MachineControl {
  public:
    virtual void power_off() = 0;
    virtual void reset() = 0;

    /// The vCPU that makes this access goes on behind it when that PCI function of the VM is as PciFunction::wish() says:
    /// PassThrough::settle().
    virtual void await_function(unsigned /*function*/) {}

  protected:
    ~MachineControl() = default;
};

}  // namespace margay::vmm

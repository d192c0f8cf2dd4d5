#pragma once

#include <cstdint>

namespace margay::vmm {

/// Where the guest's serial output goes.
class ConsoleSink {
  public:
    /// One byte, in order. Must accept it: a sink that is full drops or blocks by its own rule.
    virtual void put(std::uint8_t byte) = 0;

    /// The UART refused input by Board::console_input() and has room again.
    virtual void input_room() = 0;

  protected:
    ~ConsoleSink() = default;
};

}  // namespace margay::vmm

#pragma once

#include <cstdint>

namespace margay::vmm {

/// Where emulated accesses end that do not hit RAM.
class Bus {
  public:
    /// `width` 1, 2, 4 or 8 bytes, at any alignment, never across a 4 KiB page. The value is zero-extended.
    [[nodiscard]] virtual std::uint64_t mmio_read(std::uint64_t gpa, unsigned width) = 0;
    /// Bits of `value` above `width` are 0.
    virtual void mmio_write(std::uint64_t gpa, unsigned width, std::uint64_t value) = 0;

    /// `width` 1, 2 or 4 bytes.
    [[nodiscard]] virtual std::uint32_t port_read(std::uint16_t port, unsigned width) = 0;
    virtual void port_write(std::uint16_t port, unsigned width, std::uint32_t value) = 0;

  protected:
    ~Bus() = default;
};

}  // namespace margay::vmm

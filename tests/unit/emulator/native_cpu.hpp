#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm::test {

/// Runs single instructions on the processor that runs the tests.
///
/// Two pages each of `device` and `stack` memory, and one of code, lie at fixed linear addresses below 4 GiB,
/// so that a guest can have the same addresses.
class NativeCpu {
  public:
    static constexpr std::uint64_t code = 0x2000'0000;
    static constexpr std::uint64_t device = 0x1000'0000;  // 2 pages
    static constexpr std::uint64_t stack = 0x1100'0000;   // 2 pages

    struct Registers {
        std::uint64_t gpr[16];
        std::uint64_t rflags;  // CF PF AF ZF SF OF DF count
    };

    NativeCpu();
    ~NativeCpu();
    NativeCpu(const NativeCpu&) = delete;
    NativeCpu& operator=(const NativeCpu&) = delete;

    /// Put the instruction at its place and give its address. (It depends on nothing.)
    std::uint64_t place(std::span<const std::uint8_t> instruction);
    /// Execute what was placed.
    void run(Registers& registers);

    static std::byte* device_memory() { return reinterpret_cast<std::byte*>(device); }
    static std::byte* stack_memory() { return reinterpret_cast<std::byte*>(stack); }

  private:
    std::uint8_t* entry_ = nullptr;
};

}  // namespace margay::vmm::test

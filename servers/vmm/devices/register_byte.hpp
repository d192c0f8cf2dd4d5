#pragma once

#include <cstdint>

/// Registers of devices, a byte at a time.
namespace margay::vmm {

/// One byte of a register is written.
template <typename T>
constexpr void put(T& value, unsigned lane, std::uint8_t byte, T writable) noexcept {
    const auto mask = static_cast<T>((T{0xff} << (8 * lane)) & writable);
    value = static_cast<T>((value & static_cast<T>(~mask)) |
                           (static_cast<T>(T{byte} << (8 * lane)) & mask));
}

template <typename T>
[[nodiscard]] constexpr std::uint8_t byte_of(T value, unsigned lane) noexcept {
    return static_cast<std::uint8_t>(value >> (8 * lane));
}

}  // namespace margay::vmm

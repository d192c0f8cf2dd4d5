#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>

namespace margay::vmm {

/// A little-endian integer at `offset`, which the caller has checked. The host is little-endian.
template <typename T>
[[nodiscard]] T load_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
    static_assert(std::is_integral_v<T>);
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

template <typename T>
void store_at(std::span<std::byte> bytes, std::size_t offset,
              std::type_identity_t<T> value) noexcept {
    static_assert(std::is_integral_v<T>);
    std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

}  // namespace margay::vmm

// Where the kernel sees physical RAM.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

#if __STDC_HOSTED__
inline std::uint64_t direct_map_base = 0;  // host tests: where their machine's RAM is
#else
constexpr std::uint64_t direct_map_base = 0xffff'8000'0000'0000;
#endif
constexpr std::uint64_t direct_map_limit = 1ull << 46;              // bytes of RAM at most
constexpr std::uint64_t kernel_image_base = 0xffff'ffff'8000'0000;  // maps physical 0
constexpr std::uint64_t device_window = 0xffff'ffff'c000'0000;      // local and I/O APICs, uncached
constexpr std::uint64_t firmware_window =
    0xffff'ffff'd000'0000;  // ACPI tables outside RAM, read-only
constexpr std::uint64_t firmware_window_bytes = 16 << 20;

template <typename T>
T* direct(HostPhys address) {
    return reinterpret_cast<T*>(direct_map_base + address.value());
}
// Of an object that lives in the direct map.
inline HostPhys physical_of(const void* p) {
    return HostPhys{reinterpret_cast<std::uint64_t>(p) - direct_map_base};
}

}  // namespace margay

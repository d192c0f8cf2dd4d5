// Addresses that do not convert into each other by accident.
#pragma once
#include <compare>
#include <cstdint>

namespace margay {

template <typename Tag>
class Address {
  public:
    constexpr Address() = default;
    constexpr explicit Address(std::uint64_t value) : value_{value} {}
    constexpr std::uint64_t value() const { return value_; }
    constexpr Address operator+(std::uint64_t bytes) const { return Address{value_ + bytes}; }
    constexpr std::uint64_t operator-(Address other) const { return value_ - other.value_; }
    constexpr auto operator<=>(const Address&) const = default;

  private:
    std::uint64_t value_ = 0;
};

using HostPhys = Address<struct HostPhysTag>;
using GuestPhys = Address<struct GuestPhysTag>;
using Virt = Address<struct VirtTag>;

constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) {
    return (value & (alignment - 1)) == 0;
}
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}
constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) {
    return value & ~(alignment - 1);
}

}  // namespace margay

#pragma once

#include "servers/vmm/devices/apic_bus.hpp"

#include <cstdint>

/// Bits of local APIC registers (AMD APM vol. 2 §16.3..16.4). For the sources of LocalApic only.
namespace margay::vmm::apic {

inline constexpr std::uint64_t base_bsp = 1U << 8;
inline constexpr std::uint64_t base_x2apic = 1U << 10;
inline constexpr std::uint64_t base_enable = 1U << 11;

inline constexpr unsigned lvt_timer = 0;  // indices of LocalApicState::lvt
inline constexpr unsigned lint0 = 3;
inline constexpr unsigned lint1 = 4;
inline constexpr unsigned lvt_error = 5;

inline constexpr std::uint32_t lvt_status = 1U << 12;
inline constexpr std::uint32_t lvt_remote_irr = 1U << 14;
inline constexpr std::uint32_t lvt_masked = 1U << 16;
inline constexpr std::uint32_t timer_mode = 3U << 17;
inline constexpr std::uint32_t timer_one_shot = 0U << 17;
inline constexpr std::uint32_t timer_periodic = 1U << 17;
inline constexpr std::uint32_t timer_tsc_deadline = 2U << 17;

inline constexpr std::uint32_t software_enable = 1U << 8;

inline constexpr std::uint32_t error_send_vector = 1U << 5;
inline constexpr std::uint32_t error_receive_vector = 1U << 6;
inline constexpr std::uint32_t error_register = 1U << 7;

[[nodiscard]] constexpr DeliveryMode lvt_mode(std::uint32_t entry) noexcept {
    return static_cast<DeliveryMode>((entry >> 8) & 7);
}

}  // namespace margay::vmm::apic

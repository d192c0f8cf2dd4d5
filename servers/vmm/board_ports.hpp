#pragma once

#include <array>
#include <cstdint>

/// Which device answers which I/O port: a table of two levels, so that finding out costs the same everywhere.
/// Part of Board.
namespace margay::vmm {

enum class PortOwner : std::uint8_t {
    none,
    uart,
    pic,
    pit,
    speaker,
    rtc,
    keyboard_data,
    keyboard,
    fast_a20,
    delay,
    acpi_pm,
    pci_address,
    reset_control,
    pci_data,
};

struct PortMap {
    static constexpr unsigned pages = 8;

    std::array<std::uint8_t, 256> page;  ///< by the port's high byte; page 0 is empty
    std::array<std::array<PortOwner, 256>, pages> owner;  ///< by the port's low byte

    [[nodiscard]] constexpr PortOwner find(std::uint16_t port) const noexcept {
        return owner[page[port >> 8]][port & 0xff];
    }
};

namespace detail {

struct PortRange {
    std::uint16_t first;
    std::uint16_t count;
    PortOwner owner;
};

inline constexpr PortRange port_ranges[] = {
    {0x020, 2, PortOwner::pic},           {0x040, 4, PortOwner::pit},
    {0x060, 1, PortOwner::keyboard_data}, {0x061, 1, PortOwner::speaker},
    {0x064, 1, PortOwner::keyboard},      {0x070, 2, PortOwner::rtc},
    {0x080, 1, PortOwner::delay},         {0x092, 1, PortOwner::fast_a20},
    {0x0a0, 2, PortOwner::pic},           {0x0ed, 1, PortOwner::delay},
    {0x3f8, 8, PortOwner::uart},          {0x4d0, 2, PortOwner::pic},
    {0x600, 12, PortOwner::acpi_pm},      {0xcf8, 4, PortOwner::pci_address},
    {0xcf9, 1, PortOwner::reset_control}, {0xcfc, 4, PortOwner::pci_data},
};

consteval PortMap make_port_map() {
    PortMap map{};
    std::uint8_t used = 1;
    for (const auto& range : port_ranges) {
        auto& page = map.page[range.first >> 8];
        if (page == 0) {
            page = used++;  // out of range, and so no constant, if `pages` is too small
        }
        for (unsigned i = 0; i < range.count; ++i) {
            map.owner[page][(range.first + i) & 0xff] = range.owner;
        }
    }
    return map;
}

}  // namespace detail

inline constexpr PortMap port_map = detail::make_port_map();

}  // namespace margay::vmm

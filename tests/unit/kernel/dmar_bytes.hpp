// A DMAR table, byte by byte.
#pragma once
#include <initializer_list>
#include <utility>

#include "bytes.hpp"

namespace margay::dmar_bytes {

using Hops = std::initializer_list<std::pair<unsigned, unsigned>>;  // device, function

inline constexpr std::uint8_t endpoint = 1, bridge = 2, io_apic = 3, hpet = 4;

inline Bytes scope(std::uint8_t type, std::uint8_t start_bus, Hops hops,
                   std::uint8_t enumeration = 0) {
    Bytes b{type, static_cast<std::uint8_t>(6 + 2 * hops.size()), 0, 0, enumeration, start_bus};
    for (const auto& [device, function] : hops) {
        b.push_back(static_cast<std::uint8_t>(device));
        b.push_back(static_cast<std::uint8_t>(function));
    }
    return b;
}
// type, length, and then what is behind them.
inline Bytes structure(std::uint16_t type, const Bytes& body) {
    Bytes b;
    put(put(b, type), static_cast<std::uint16_t>(4 + body.size()));
    return b + body;
}
inline Bytes unit(std::uint64_t registers, const Bytes& scopes, bool covers_others = false,
                  std::uint16_t segment = 0, std::uint8_t size = 0) {
    Bytes b{static_cast<std::uint8_t>(covers_others ? 1 : 0), size};
    put(put(b, segment), registers);
    return structure(0, b + scopes);
}
inline Bytes reserved(std::uint64_t first, std::uint64_t last, const Bytes& scopes,
                      std::uint16_t segment = 0) {
    Bytes b{0, 0};
    put(put(put(b, segment), first), last);
    return structure(1, b + scopes);
}
inline Bytes table(const Bytes& structures, std::uint8_t width = 38, std::uint8_t flags = 1) {
    Bytes t{'D', 'M', 'A', 'R'};
    put(t, static_cast<std::uint32_t>(48 + structures.size()));
    t.resize(36);
    t.push_back(width);
    t.push_back(flags);
    t.resize(48);
    return t + structures;
}

// As QEMU 7.2 gives it for a q35 with two root ports: no unit that covers others, and an I/O APIC on a bus that there is not.
inline Bytes qemu() {
    return table(unit(0xfed90000, scope(io_apic, 0xff, {{0, 0}}) + scope(endpoint, 0, {{0, 0}}) +
                                      scope(endpoint, 0, {{2, 0}}) + scope(bridge, 0, {{3, 0}}) +
                                      scope(bridge, 0, {{4, 0}}) + scope(endpoint, 0, {{31, 0}}) +
                                      scope(endpoint, 0, {{31, 2}})));
}

}  // namespace margay::dmar_bytes

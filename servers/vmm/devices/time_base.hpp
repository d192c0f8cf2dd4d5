#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// A ratio as multiplier and shift, so that applying it costs one 64x64→128 multiplication and a shift.
/// Division happens only in make().
struct Ratio {
    enum class Rounding : std::uint8_t { down, up };

    std::uint64_t multiplier;  ///< ratio × 2^shift, top bit set unless the ratio is 0
    std::uint32_t shift;       ///< 0..127
    std::uint32_t reserved;

    /// numerator / denominator, each 1..2^62; the multiplier's last bit is rounded as told.
    /// A ratio of 2^64 or more does not occur with those limits.
    [[nodiscard]] static constexpr Ratio make(std::uint64_t numerator, std::uint64_t denominator,
                                              Rounding rounding) noexcept {
        auto quotient = numerator / denominator;
        auto remainder = numerator % denominator;
        std::uint32_t shift = 0;
        while ((quotient >> 63) == 0 && shift < 120) {
            remainder <<= 1;
            quotient <<= 1;
            if (remainder >= denominator) {
                remainder -= denominator;
                quotient |= 1;
            }
            ++shift;
        }
        if (rounding == Rounding::up && remainder != 0 && quotient != ~std::uint64_t{0}) {
            ++quotient;
        }
        return {quotient, shift, 0};
    }

    /// value × ratio, rounded towards 0; the low 64 bits.
    [[nodiscard]] constexpr std::uint64_t floor(std::uint64_t value) const noexcept {
        return static_cast<std::uint64_t>((static_cast<unsigned __int128>(value) * multiplier) >>
                                          shift);
    }

    /// value × ratio, rounded up; the low 64 bits.
    [[nodiscard]] constexpr std::uint64_t ceil(std::uint64_t value) const noexcept {
        const auto round = (static_cast<unsigned __int128>(1) << shift) - 1;
        return static_cast<std::uint64_t>(
            (static_cast<unsigned __int128>(value) * multiplier + round) >> shift);
    }
};

/// Conversions between the guest's TSC and nanoseconds. Plain data: part of the board's state.
struct TimeBase {
    std::uint64_t tsc_khz;  ///< 1000..100 000 000
    Ratio tsc_to_ns;        ///< rounded down
    Ratio ns_to_tsc;        ///< rounded up

    [[nodiscard]] static constexpr TimeBase make(std::uint64_t tsc_khz) noexcept {
        return {tsc_khz, Ratio::make(1'000'000, tsc_khz, Ratio::Rounding::down),
                Ratio::make(tsc_khz, 1'000'000, Ratio::Rounding::up)};
    }
};

MARGAY_STATE(TimeBase, "time", 1, 1, section_flag::critical | section_flag::constant, tsc_khz,
             tsc_to_ns, ns_to_tsc);

/// A counter of a fixed frequency read against nanoseconds: for every count c that is reached exactly at
/// nanosecond ns_at(c) or just before it, count_at(ns_at(c)) == c.
struct TickRate {
    Ratio ns_to_ticks;
    Ratio ticks_to_ns;

    [[nodiscard]] static constexpr TickRate make(std::uint64_t hertz) noexcept {
        return {Ratio::make(hertz, 1'000'000'000, Ratio::Rounding::up),
                Ratio::make(1'000'000'000, hertz, Ratio::Rounding::down)};
    }

    [[nodiscard]] constexpr std::uint64_t count_at(std::uint64_t ns) const noexcept {
        return ns_to_ticks.floor(ns);
    }
    [[nodiscard]] constexpr std::uint64_t ns_at(std::uint64_t ticks) const noexcept {
        return ticks_to_ns.ceil(ticks);
    }
};

}  // namespace margay::vmm

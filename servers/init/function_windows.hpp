// Where the BARs of a guest's functions have room among its physical addresses: below 4 GiB, in what its VMM's ACPI tables name
// (servers/vmm/acpi/dsdt.asl), and above its RAM.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "proto/guest_function.hpp"
#include "proto/vmm.hpp"
#include "support/address.hpp"

namespace margay::init {

class FunctionWindows {
  public:
    enum class Fit : std::uint8_t { ok, low, high };

    // size: of a BAR in bytes, a power of two.
    void add(std::uint64_t size, bool is_wide) {
        std::uint64_t& sum = is_wide ? wide_ : narrow_;
        sum = size > most - sum ? most : sum + size;
    }
    // Largest first, powers of two leave no gaps: their sum is what they take. A window of the wide ones is no smaller than
    // `granularity`, at a multiple of its size.
    Fit place(std::uint64_t ram_bytes) {
        base_ = bytes_ = 0;
        if (narrow_ > function_window_bytes) return Fit::low;
        if (wide_ == 0) return Fit::ok;
        if (wide_ > end / 2) return Fit::high;
        const std::uint64_t size = std::max(granularity, std::bit_ceil(wide_));
        const std::uint64_t ram_end =
            guest_high_ram +
            (ram_bytes > guest_low_ram_limit ? ram_bytes - guest_low_ram_limit : 0);
        if (ram_end > end - size || align_up(ram_end, size) > end - size) return Fit::high;
        base_ = align_up(ram_end, size);
        bytes_ = size;
        return Fit::ok;
    }

    std::uint64_t narrow() const { return narrow_; }
    std::uint64_t wide() const { return wide_; }
    // Of the window above RAM; 0: there is none.
    std::uint64_t base() const { return base_; }
    std::uint64_t bytes() const { return bytes_; }

  private:
    static constexpr std::uint64_t most = ~0ull, granularity = 2 << 20;
    static constexpr std::uint64_t end = 1ull << guest_physical_bits;

    std::uint64_t narrow_ = 0, wide_ = 0;  // bytes
    std::uint64_t base_ = 0, bytes_ = 0;
};

}  // namespace margay::init

// Entries of the interrupt table that all units share: which are taken. The first ones belong to the lines of I/O APICs, in order.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/iommu/vtd/entries.hpp"

namespace margay::iommu::vtd {

class Handles {
  public:
    static constexpr unsigned max_io_apics = 16, lines_each = 256;
    // 0 is no message's.
    static constexpr unsigned none = 0, first_message = max_io_apics * lines_each;

    static constexpr unsigned line(unsigned io_apic, unsigned pin) {
        return io_apic * lines_each + pin;
    }
    // none: there is none left.
    unsigned take() {
        for (unsigned n = 0; n < words; ++n, next_ = (next_ + 1) % words) {
            std::uint64_t& taken = taken_[next_];
            if (taken == ~0ull) continue;
            const auto bit = static_cast<unsigned>(__builtin_ctzll(~taken));
            taken |= 1ull << bit;
            return first_message + next_ * 64 + bit;
        }
        return none;
    }
    void release(unsigned handle) {
        const unsigned n = handle - first_message;
        taken_[n / 64] &= ~(1ull << n % 64);
    }

  private:
    static constexpr unsigned words = (interrupt_entries - first_message) / 64;
    std::uint64_t taken_[words] = {};
    unsigned next_ = 0;  // where there may be one
};

}  // namespace margay::iommu::vtd

// Process-context identifiers (SDM vol. 3 §4.10.1, AMD APM vol. 2 §5.5.1): a Domain has one number for its
// life, the same on all cores, so that a switch between address spaces keeps translations. Pure bookkeeping.
//
// What a switch writes is the Domain's value as it stands: root, number, and the bit that keeps what the TLB
// has. Number 0 is the kernel's own and that of Domains for which none was left: its value lacks the bit, so
// that loading it drops the number's translations.
// Translations of a Domain whose tables lost entries are dropped with those of all numbers, on every core
// that ever ran it, loaded or not (Core::flush_here). A number is given back when that has been done after
// the last use.
#pragma once
#include <atomic>
#include <bit>
#include <cstdint>

#include "support/address.hpp"

namespace margay {

class PcidPool {
  public:
    static constexpr unsigned count = 4096;

    // A number that nobody has, or 0. From any core.
    unsigned take() {
        for (std::atomic<std::uint64_t>& word : taken_) {
            std::uint64_t bits = word.load(std::memory_order_relaxed);
            while (bits != ~0ull) {
                const auto bit = static_cast<unsigned>(std::countr_one(bits));
                if (word.compare_exchange_weak(bits, bits | 1ull << bit))
                    return static_cast<unsigned>(&word - taken_) * 64 + bit;
            }
        }
        return 0;
    }
    // No TLB has a translation with it any more.
    void give_back(unsigned pcid) {
        if (pcid != 0) taken_[pcid / 64].fetch_and(~(1ull << pcid % 64));
    }

    static constexpr std::uint64_t keep = 1ull << 63;
    // What CR3 is loaded with.
    static constexpr std::uint64_t value(HostPhys root, unsigned pcid) {
        return root.value() | pcid | (pcid != 0 ? keep : 0);
    }
    static constexpr unsigned pcid_of(std::uint64_t value) {
        return static_cast<unsigned>(value % count);
    }

  private:
    std::atomic<std::uint64_t> taken_[count / 64] = {1};
};

}  // namespace margay

// A set of cores, by id. Members are added with one atomic instruction and never taken out: it says
// where something can be cached or in use, and may say too much.
#pragma once
#include <atomic>
#include <bit>
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

class CoreSet {
  public:
    CoreSet() = default;
    CoreSet(const CoreSet& other) { add(other); }
    CoreSet& operator=(const CoreSet&) = delete;

    void add(unsigned core) {
        const std::uint64_t bit = 1ull << core % 64;
        std::atomic<std::uint64_t>& word = words_[core / 64];
        if ((word.load(std::memory_order_relaxed) & bit) == 0) word.fetch_or(bit);
    }
    void add(const CoreSet& other) {
        for (unsigned i = 0; i < words; ++i) {
            const std::uint64_t theirs = other.words_[i].load();
            if (theirs != 0) words_[i].fetch_or(theirs);
        }
    }
    bool has(unsigned core) const { return (words_[core / 64].load() >> core % 64 & 1) != 0; }

    // Calls f(id) for each member, in order.
    template <typename F>
    void for_each(F f) const {
        for (unsigned i = 0; i < words; ++i)
            for (std::uint64_t rest = words_[i].load(); rest != 0; rest &= rest - 1)
                f(i * 64 + static_cast<unsigned>(std::countr_zero(rest)));
    }

  private:
    static constexpr unsigned words = (max_cores + 63) / 64;
    std::atomic<std::uint64_t> words_[words] = {};
};

}  // namespace margay

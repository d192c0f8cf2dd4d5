// The last bytes of a stream, by their positions from its beginning. Readers have positions of their own;
// what a reader must not miss is kept by telling from where on.
#pragma once
#include <atomic>
#include <cstdint>

namespace margay::console {

template <unsigned bytes>
class History {
  public:
    static constexpr std::uint64_t nobody = ~0ull;

    // The end is where the bytes are complete, at every moment.
    void put(char c) {
        data_[end_ % bytes] = c;
        std::atomic_signal_fence(std::memory_order_release);
        ++end_;
    }
    char at(std::uint64_t position) const { return data_[position % bytes]; }
    // The oldest byte that is still there, and the position behind the newest.
    std::uint64_t begin() const { return end_ > bytes ? end_ - bytes : 0; }
    std::uint64_t end() const { return end_; }

    // Before each turn nobody reads; then each reader says where it is.
    void keep_nothing() { keep_from_ = nobody; }
    void keep(std::uint64_t from) {
        if (from < keep_from_) keep_from_ = from;
    }
    // How much can be put without a loss for a reader.
    std::uint64_t room() const {
        if (keep_from_ == nobody) return bytes;
        const std::uint64_t kept = end_ - keep_from_;
        return kept < bytes ? bytes - kept : 0;
    }
    // Moves a reader on that has fallen behind: how many bytes it has lost.
    std::uint64_t catch_up(std::uint64_t& position) const {
        if (position >= begin()) return 0;
        const std::uint64_t lost = begin() - position;
        position = begin();
        return lost;
    }
    // To be saved before a change.
    std::uint64_t& saved_end() { return end_; }
    void clear() { end_ = 0, keep_from_ = nobody; }

  private:
    std::uint64_t end_ = 0, keep_from_ = nobody;
    char data_[bytes];
};

}  // namespace margay::console

// A ring of bytes in shared memory, for one producer and one consumer. Each side trusts only its own
// index: the other's is reduced to the ring before use, so a broken partner yields wrong bytes at
// worst.
#pragma once
#include <atomic>
#include <cstdint>

namespace margay {

template <std::uint32_t bytes>
class ByteRing {
    static_assert((bytes & (bytes - 1)) == 0);

  public:
    // False if it is full.
    bool put(char c) {
        const std::uint32_t head = head_.load(std::memory_order_relaxed);
        if (head - tail_.load(std::memory_order_acquire) >= bytes) return false;
        data_[head % bytes] = c;
        head_.store(head + 1, std::memory_order_release);
        return true;
    }
    // False if it is empty.
    bool get(char& c) {
        const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
        if (head_.load(std::memory_order_acquire) == tail) return false;
        c = data_[tail % bytes];
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }
    bool is_empty() const {
        return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
    }
    std::uint32_t room() const {
        const std::uint32_t used =
            head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire);
        return used > bytes ? 0 : bytes - used;
    }

  private:
    std::atomic<std::uint32_t> head_{0};
    std::atomic<std::uint32_t> tail_{0};
    char data_[bytes];
};

}  // namespace margay

// A ring of bytes in shared memory, for one producer and one consumer.
//
// Both indices lie in the shared memory, so that a successor of either side can go on: a partner may write
// both, at any time. Whatever they are, an access stays within the ring, and the bytes between them are
// believed only if they fit into it: a head that is further ahead is corrupt, and the consumer begins anew
// at the head. A partner that never stops yields bytes for ever: who serves several rings bounds what it
// takes from each.
#pragma once
#include <atomic>
#include <cstdint>

namespace margay {

template <std::uint32_t bytes>
class ByteRing {
    static_assert((bytes & (bytes - 1)) == 0);

  public:
    static constexpr std::uint32_t capacity = bytes;

    // False if it is full, or the consumer's index is corrupt.
    bool put(char c) {
        const std::uint32_t head = head_.load(std::memory_order_relaxed);
        if (head - tail_.load(std::memory_order_acquire) >= bytes) return false;
        data_[head % bytes] = c;
        head_.store(head + 1, std::memory_order_release);
        return true;
    }
    // False if it is empty, or was corrupt: then all of it is skipped.
    bool get(char& c) {
        const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
        const std::uint32_t head = head_.load(std::memory_order_acquire);
        if (head - tail - 1 >= bytes) [[unlikely]] {
            if (head != tail) tail_.store(head, std::memory_order_release);
            return false;
        }
        c = data_[tail % bytes];
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }
    // A corrupt ring is not empty; get() makes it so.
    bool is_empty() const {
        return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
    }
    // Bytes that a consumer can take, at most a ring's worth.
    std::uint32_t used() const {
        const std::uint32_t used =
            head_.load(std::memory_order_acquire) - tail_.load(std::memory_order_relaxed);
        return used > bytes ? 0 : used;
    }
    // Bytes that can be put.
    std::uint32_t room() const {
        const std::uint32_t used =
            head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire);
        return used > bytes ? 0 : bytes - used;
    }

    // For partners that may be replaced by a successor, and that keep their own count of bytes, modulo
    // 2^32, where a half done step can be taken back. A count starts from head() or tail().
    std::uint32_t head() const { return head_.load(std::memory_order_relaxed); }
    std::uint32_t tail() const { return tail_.load(std::memory_order_relaxed); }
    // Puts the byte that belongs at `position` and moves that on. If the head is up to a ring's size
    // ahead, the byte was put before and is not put again. Any other position means that the ring was
    // made anew: it becomes the head's. False if the ring is full.
    bool put_at(std::uint32_t& position, char c) {
        const std::uint32_t head = head_.load(std::memory_order_relaxed);
        if (const std::uint32_t ahead = head - position; ahead != 0 && ahead <= bytes) {
            ++position;
            return true;
        }
        if (!put(c)) return false;
        position = head + 1;
        return true;
    }
    // The byte at `position`, which stays in the ring. False if there is none yet.
    bool peek(std::uint32_t position, char& c) const {
        const std::uint32_t ahead = head_.load(std::memory_order_acquire) - position;
        if (ahead == 0 || ahead > bytes) return false;
        c = data_[position % bytes];
        return true;
    }
    // All bytes before `position` are consumed.
    void release(std::uint32_t position) { tail_.store(position, std::memory_order_release); }

  private:
    std::atomic<std::uint32_t> head_{0};
    std::atomic<std::uint32_t> tail_{0};
    char data_[bytes];
};

}  // namespace margay

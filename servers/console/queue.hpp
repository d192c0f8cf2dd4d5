// Bytes in order, a bounded number.
#pragma once
#include <cstdint>

namespace margay::console {

template <unsigned bytes>
class Queue {
  public:
    static constexpr unsigned capacity = bytes;

    // Dropped if it is full.
    void put(char c) {
        if (room() != 0) data_[head_++ % bytes] = c;
    }
    bool is_empty() const { return head_ == tail_; }
    unsigned used() const { return head_ - tail_; }
    unsigned room() const { return bytes - used(); }
    char front() const { return data_[tail_ % bytes]; }
    void pop() { ++tail_; }
    void clear() { tail_ = head_; }

  private:
    unsigned head_ = 0, tail_ = 0;
    char data_[bytes];
};

// What goes out on a serial line. It is stuck when nobody has taken anything for a while.
class Outgoing : public Queue<2048> {
  public:
    // After so long what comes is dropped.
    static constexpr std::uint64_t patience_ms = 1000;

    // Once in each turn. now: milliseconds. moved: bytes were taken since.
    void look(std::uint64_t now, bool moved) {
        if (moved || is_empty()) since_ = now;
        is_stuck_ = now - since_ >= patience_ms;
    }
    bool is_stuck() const { return is_stuck_; }
    // When look() may find it stuck, in milliseconds.
    std::uint64_t stuck_at() const { return since_ + patience_ms; }

  private:
    std::uint64_t since_ = 0;
    bool is_stuck_ = false;
};

}  // namespace margay::console

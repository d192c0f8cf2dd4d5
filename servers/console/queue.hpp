// Bytes in order, a bounded number. They may have been left by a console that died: make_sound().
#pragma once
#include <cstdint>

namespace margay::console {

template <unsigned bytes>
class Queue {
  public:
    static constexpr unsigned capacity = bytes;
    struct Ends {
        unsigned head = 0, tail = 0;
    };

    // Dropped if it is full.
    void put(char c) {
        if (room() != 0) data_[ends_.head++ % bytes] = c;
    }
    bool is_empty() const { return ends_.head == ends_.tail; }
    unsigned used() const { return ends_.head - ends_.tail; }
    unsigned room() const { return bytes - used(); }
    char front() const { return data_[ends_.tail % bytes]; }
    void pop() { ++ends_.tail; }
    void pop(unsigned count) { ends_.tail += count; }
    // The i-th that is there.
    char at(unsigned i) const { return data_[(ends_.tail + i) % bytes]; }
    void clear() { ends_.tail = ends_.head; }
    // To be saved before a change.
    Ends& ends() { return ends_; }
    void make_sound() {
        if (used() > bytes) clear();
    }

  private:
    Ends ends_;
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
    void resume(std::uint64_t now) {
        make_sound();
        since_ = now;
        is_stuck_ = false;
    }

  private:
    std::uint64_t since_ = 0;
    bool is_stuck_ = false;
};

}  // namespace margay::console

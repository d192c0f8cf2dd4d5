// Whether pmem answers. init waits for it without end, so a thread of its own, above both, looks at how long that takes and
// ends a pmem that gets nothing done: init's call returns then, as when pmem dies.
//
// The thread is on init's core and above it: while it looks, init stands still, and what init says here is whole.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/pmem.hpp"
#include "servers/init/life/service_watch.hpp"
#include "servers/init/node.hpp"

namespace margay::init {

class PmemWatch {
  public:
    // Makes the thread. progress: what pmem counts up within long requests. One at a time. On failures why() tells.
    Status start(Node& node, const std::atomic<std::uint64_t>& progress);
    const char* why() const { return why_; }

    // pmem has something to do from now on: it starts, or is asked. thread: its own.
    void begin(Slot thread);
    // It has done that, or is dead.
    void end() { thread_.store(no_slot, std::memory_order_relaxed); }
    // Whether it was ended since the last begin().
    bool has_ended_it() const { return has_ended_it_.load(std::memory_order_relaxed); }

    // For program_main: whether this is the thread, and what it does.
    static bool is_thread(std::uint64_t argument) { return argument % page_size != 0; }
    [[noreturn]] static void run();

  private:
    [[noreturn]] void watch();

    const std::atomic<std::uint64_t>* progress_ = nullptr;
    std::uint64_t limit_ = 0;  // ticks
    Slot event_ = no_slot;
    std::atomic<Slot> thread_{no_slot};       // of pmem, while it has something to do
    std::atomic<std::uint64_t> requests_{0};  // how often it had
    std::atomic<bool> rests_{false};          // nobody has asked for a while
    std::atomic<bool> has_ended_it_{false};
    const char* why_ = "";
};

}  // namespace margay::init

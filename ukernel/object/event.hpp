// Event: a latched word of bits; the only thing that crosses cores.
#pragma once
#include <atomic>
#include <cstdint>

#include "ukernel/core/core.hpp"

namespace margay {

// A context and the core that it is bound to, in one word: whoever reads it on another core learns where
// to go without looking into the context.
class Waiter {
  public:
    Waiter() = default;
    explicit Waiter(Context& context);

    explicit operator bool() const { return word_ != 0; }
    Core& core() const;
    // Only on its core.
    Context& context() const {
        return *reinterpret_cast<Context*>(static_cast<std::int64_t>(word_ << 16) >> 16);
    }

  private:
    std::uint64_t word_ = 0;  // core id above the low 48 bits of a canonical address
};

struct Event : Mail {
    Event() {
        arrive = [](Mail& mail) { static_cast<Event&>(mail).taken_out(); };
    }

    std::atomic<std::uint64_t> bits{0};
    // A thread in wait, or a bound vCPU. Set and cleared on its own core.
    std::atomic<Waiter> waiter{};
    // The core whose mailbox it is in; null: in none.
    std::atomic<Core*> posted_to{nullptr};

    // When nobody can find it any more.
    void destroy();
    // A capability to it is gone: a thread that waits through that one waits no more.
    void evict(const CapSlot& slot);

    // Sets bits and wakes the waiter, on whatever core it is. Takes no lock.
    void signal(std::uint64_t set);
    // Of a mailbox, on the core where that is.
    void taken_out();
    // Hands latched bits over, or sees that the waiter's core does.
    void deliver();
    // Takes the latched bits.
    std::uint64_t take() { return bits.exchange(0); }
    // The context waits no more. On its core.
    void leave() { waiter.store(Waiter{}); }
};

}  // namespace margay

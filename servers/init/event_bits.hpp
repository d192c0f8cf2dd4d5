// init's own Event, when different parts of it wait for different bits: what one does not ask for is kept
// for the others.
#pragma once
#include "libipc/system_call.hpp"

namespace margay::init {

class EventBits {
  public:
    void use(Slot event) { event_ = event; }
    Slot event() const { return event_; }

    // Bits of `wanted` that were signalled; 0 when the deadline (TSC) has passed or on an error.
    std::uint64_t wait(std::uint64_t wanted, std::uint64_t deadline) {
        while ((latched_ & wanted) == 0) {
            const Result<std::uint64_t> bits = margay::wait(event_, deadline);
            if (!bits) return 0;
            latched_ |= *bits;
        }
        const std::uint64_t bits = latched_ & wanted;
        latched_ &= ~bits;
        return bits;
    }
    void pause(std::uint64_t until) { (void)wait(0, until); }
    // What was signalled of them so far is of no interest.
    void forget(std::uint64_t bits) {
        (void)wait(bits, 0);
        latched_ &= ~bits;
    }

  private:
    Slot event_ = no_slot;
    std::uint64_t latched_ = 0;
};

}  // namespace margay::init

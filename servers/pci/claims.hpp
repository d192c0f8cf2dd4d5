// Whose each function is: makes what init wishes so, function by function, without ever waiting.
#pragma once
#include "proto/pci.hpp"
#include "servers/pci/reset.hpp"

namespace margay::pci {

// What is known of one function's claim, in memory that outlives the server; all zero at first.
struct Claim {
    bool works = false;    // `wish` is in hand
    bool is_lost = false;  // it is given to nobody any more
    bool is_owed =
        false;  // whoever had it then has not given it back: he must hear that it is not at rest
    std::uint16_t holder = 0;  // 0: nobody
    std::uint16_t last = 0;    // who had it before, 0: nobody has had it
    std::uint64_t wish = 0;    // in hand, or the last one
    ResetState reset;
};

class Claims {
  public:
    Claims(Config& config, const Topology& topology, PciBoard& board, Claim* claims,
           std::uint64_t ticks_per_ms)
        : config_{config},
          topology_{topology},
          board_{board},
          claims_{claims},
          ticks_per_ms_{ticks_per_ms} {}

    // Writes the list on the board: what each function is, and why it cannot be given.
    void list();
    // Goes on with every wish. True if one has become true, or was refused.
    bool work(std::uint64_t now);
    // When there is something to do that nobody rings for; no_deadline: never.
    std::uint64_t due() const;

  private:
    std::uint64_t wish(unsigned i) const { return board_.wish[i].load(std::memory_order_acquire); }
    std::uint64_t served(unsigned i) const {
        return board_.function[i].served.load(std::memory_order_relaxed);
    }
    bool work_on(unsigned i, std::uint64_t now);
    PciOutcome refusal(unsigned i, std::uint64_t wished) const;
    bool is_line_shared(unsigned i, std::uint16_t holder) const;
    bool clear_line(unsigned i);
    PciOutcome conclude(unsigned i);
    void set_up(unsigned i);
    void set_command(unsigned i);
    void set_interrupts(unsigned i);
    void set_message(unsigned i);
    void answer(unsigned i, PciOutcome outcome);

    Config& config_;
    const Topology& topology_;
    PciBoard& board_;
    Claim* const claims_;
    const std::uint64_t ticks_per_ms_;
};

// Why the function can be given to nobody, whoever asks; ok: it can.
PciOutcome obstacle_of(const Topology& topology, unsigned index, std::uint16_t messages);

}  // namespace margay::pci

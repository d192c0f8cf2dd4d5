// How far the time-stamp counters of two cores are apart: one asks, the other answers with its counter,
// many times; the quickest answer says most. Pure over the counter, a pause and one shared word.
#pragma once
#include <atomic>
#include <cstdint>

namespace margay {

struct TscOffset {
    std::int64_t offset = 0;      // ticks, theirs - ours
    std::uint64_t error = ~0ull;  // ticks, at most; ~0: not measured

    bool is_measured() const { return error != ~0ull; }
    // Whether the counters differ, by more than the measurement's error and so many ticks.
    bool exceeds(std::uint64_t ticks) const {
        const std::uint64_t size = offset < 0 ? 0 - static_cast<std::uint64_t>(offset)
                                              : static_cast<std::uint64_t>(offset);
        return is_measured() && size > error && size - error > ticks;
    }
};

class TscExchange {
  public:
    static constexpr unsigned rounds = 64;

    // On the core that answers, until the other one has ended it. Not for ever: `patience` turns of
    // waiting for one question.
    template <typename Clock, typename Pause>
    void answer(Clock clock, Pause pause, std::uint64_t patience) {
        std::uint32_t served = 0;
        for (std::uint64_t waited = 0; waited < patience; ++waited) {
            std::uint32_t turn = turn_.load(std::memory_order_acquire);
            if (turn == ended) return;
            if (turn == served || (turn & 1) == 0) {
                pause();
                continue;
            }
            theirs_.store(clock(), std::memory_order_relaxed);
            served = turn;
            // Whoever asked may have lost patience meanwhile.
            turn_.compare_exchange_strong(turn, turn + 1, std::memory_order_release);
            waited = 0;
        }
    }

    // On the core that asks. Ends after `rounds` answers or `limit` ticks of its clock; for the first answer
    // it waits 50 times as long, as emulators that share a processor need it.
    template <typename Clock, typename Pause>
    TscOffset measure(Clock clock, Pause pause, std::uint64_t limit) {
        TscOffset best;
        const std::uint64_t begin = clock();
        const auto in_time = [&] {
            return clock() - begin < (best.is_measured() ? limit : limit * 50);
        };
        for (std::uint32_t round = 0; round < rounds && in_time(); ++round) {
            const std::uint64_t asked = clock();
            turn_.store(round * 2 + 1, std::memory_order_release);
            while (turn_.load(std::memory_order_acquire) != round * 2 + 2 && in_time()) pause();
            const std::uint64_t answered = clock();
            if (turn_.load(std::memory_order_acquire) != round * 2 + 2) break;
            const std::uint64_t error = (answered - asked + 1) / 2;
            if (error >= best.error) continue;
            best.error = error;
            best.offset = static_cast<std::int64_t>(theirs_.load(std::memory_order_relaxed) -
                                                    (asked + (answered - asked) / 2));
        }
        turn_.store(ended, std::memory_order_release);
        return best;
    }

  private:
    static constexpr std::uint32_t ended = ~0u;
    std::atomic<std::uint32_t> turn_{0};
    std::atomic<std::uint64_t> theirs_{0};
};

}  // namespace margay

// Whether a VMM hangs. What counts is progress, and the time that the VMM had for it: not the time in which
// others had its core, and not one in which the machine stood still as a whole. Pure logic.
#pragma once
#include <cstdint>

namespace margay::init {

struct WatchLimits {
    std::uint64_t answer;  // ticks of its own without an answer to the exit that it has
    std::uint64_t start;   // ticks of its own without progress of a start
    std::uint64_t files;   // bytes of the guest's files: what is placed beyond them is no progress
};

// A VM at one moment.
struct WatchSample {
    std::uint64_t now = 0;  // ticks
    std::uint64_t waited =
        0;                // ticks for which the vCPU or its VMM was ready without having the core
    bool starts = false;  // the VMM does not serve yet
    std::uint64_t placed = 0;  // while it starts: VmControl::placed, as the VMM says
    std::uint64_t exit = 0;    // number of the exit that waits for its answer; 0: none does
};

enum class WatchFinding { well, start_hangs, exit_hangs };

class VmmWatch {
  public:
    // How often it is looked at, at least, before it is taken to hang.
    static constexpr unsigned looks = 4;

    // Another VMM, or the guest may run again: what was seen so far does not count.
    void begin(const WatchLimits& limits, std::uint64_t now);
    // Nothing is watched any more.
    void end() { next_ = ~0ull; }
    WatchFinding look(const WatchSample& sample);
    // When to look again (ticks).
    std::uint64_t next_look() const { return next_; }

  private:
    struct Point {
        bool starts;
        std::uint64_t value;  // what would move if it went on
        bool operator==(const Point&) const = default;
    };
    std::uint64_t interval() const;
    Point point_of(const WatchSample& sample) const;
    std::uint64_t limit_of(const Point& p) const {
        return p.starts ? limits_.start : limits_.answer;
    }

    WatchLimits limits_{};
    std::uint64_t next_ = ~0ull;
    bool seen_ = false;
    Point point_{};
    std::uint64_t since_ = 0, waited_ = 0;  // when the point was seen first
    unsigned looks_ = 0;                    // since then
};

}  // namespace margay::init

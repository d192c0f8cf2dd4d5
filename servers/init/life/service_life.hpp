// When a service of the node that died is started again. Pure logic.
//
// Unlike a VM's, its restart is never given up: a service that dies over and over is started again after a pause, and
// the node does without it meanwhile.
#pragma once
#include <cstdint>

namespace margay::init {

struct ServiceLimits {
    std::uint64_t count = 16;  // deaths within the window that are answered at once
    std::uint64_t window = 0;  // ticks, from the first of them
    std::uint64_t pause = 0;   // ticks before the next attempt, once there were more
};

class ServiceLife {
  public:
    enum class State : std::uint8_t {
        loading,  // its process is being made
        running,
        pausing,  // it died too often; begin() is due at next_look()
    };

    void configure(const ServiceLimits& limits) { limits_ = limits; }

    State state() const { return state_; }
    // Its process is complete and runs.
    void started() { state_ = State::running; }
    // It died, or could not be made. worked: it has done something since it started. killed: not of its own fault. weight:
    // as how many deaths it counts.
    void died(bool worked, bool killed, std::uint64_t now, unsigned weight = 1);
    // Out of a pause that is over. False: there is none, or it is not.
    bool begin(std::uint64_t now);
    // What it kept for its successors has killed two in a row before they did anything: the next one gets none of it.
    bool begins_anew() const { return idle_deaths_ >= 2; }
    // TSC; no_deadline if there is nothing to wait for.
    std::uint64_t next_look() const { return state_ == State::pausing ? resumes_ : ~0ull; }
    // Deaths so far.
    unsigned deaths() const { return deaths_; }

  private:
    ServiceLimits limits_;
    State state_ = State::loading;
    unsigned deaths_ = 0, idle_deaths_ = 0;
    std::uint64_t window_begin_ = 0, in_window_ = 0, resumes_ = 0;
};

}  // namespace margay::init

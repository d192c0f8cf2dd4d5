// Whether a service of the node hangs: it has work in hand, and none of it gets done though it was asked to go on and
// had its turns of the core. Pure logic.
#pragma once
#include <cstdint>

namespace margay::init {

// A service at one moment.
struct ServiceSample {
    std::uint64_t now = 0;       // ticks
    bool has_work = false;       // as it says, or as somebody knows who waits for it
    std::uint64_t progress = 0;  // what moves when it goes on
};

enum class ServiceFinding : std::uint8_t {
    well,
    stands,  // it may wait for something: whoever watches it asks it to go on
    hangs,
};

class ServiceWatch {
  public:
    // How often it is found to stand before it is taken to hang: between two looks others have slept, and it could run. A
    // machine that stood still as a whole is looked at once.
    static constexpr unsigned looks = 4;

    // Another process of it begins. limit: ticks without progress, at least `looks`.
    void begin(std::uint64_t limit, std::uint64_t now) {
        limit_ = limit;
        looks_ = 0;
        is_seen_ = false;
        next_ = now + limit / looks;
    }
    // There is none.
    void end() { next_ = ~0ull; }
    // When to look, TSC; no_deadline if there is none.
    std::uint64_t next_look() const { return next_; }
    // At another time than next_look() it finds nothing.
    ServiceFinding look(const ServiceSample& s) {
        if (s.now < next_) return ServiceFinding::well;
        next_ = s.now + limit_ / looks;
        if (!s.has_work || !is_seen_ || s.progress != progress_) {
            is_seen_ = s.has_work;
            progress_ = s.progress;
            since_ = s.now;
            looks_ = 0;
            return ServiceFinding::well;
        }
        if (++looks_ < looks || s.now - since_ < limit_) return ServiceFinding::stands;
        end();
        return ServiceFinding::hangs;
    }

  private:
    std::uint64_t limit_ = 0, next_ = ~0ull;
    bool is_seen_ = false;
    std::uint64_t progress_ = 0, since_ = 0;  // when that was seen first
    unsigned looks_ = 0;                      // since then
};

}  // namespace margay::init

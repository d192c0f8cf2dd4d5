#include "servers/init/life/vmm_watch.hpp"

#include <algorithm>

namespace margay::init {

void VmmWatch::begin(const WatchLimits& limits, std::uint64_t now) {
    limits_ = limits;
    seen_ = false;
    next_ = now + interval();
}

std::uint64_t VmmWatch::interval() const { return std::min(limits_.answer, limits_.start) / looks; }

VmmWatch::Point VmmWatch::point_of(const WatchSample& s) const {
    return s.starts ? Point{true, std::min(s.placed, limits_.files)} : Point{false, s.exit};
}

WatchFinding VmmWatch::look(const WatchSample& s) {
    const Point point = point_of(s);
    next_ = s.now + interval();
    // What is placed only grows: a VMM that counts to and fro does not go on.
    const bool moved = !seen_ || point.starts != point_.starts ||
                       (point.starts ? point.value > point_.value : point.value != point_.value);
    const bool owes = point.starts || point.value != 0;
    if (moved || !owes) {
        seen_ = true;
        point_ = point;
        since_ = s.now;
        waited_ = s.waited;
        looks_ = 0;
        return WatchFinding::well;
    }
    ++looks_;
    const std::uint64_t passed = s.now - since_, others = s.waited - waited_;
    if (looks_ < looks || others > passed || passed - others < limit_of(point))
        return WatchFinding::well;
    return point.starts ? WatchFinding::start_hangs : WatchFinding::exit_hangs;
}

}  // namespace margay::init

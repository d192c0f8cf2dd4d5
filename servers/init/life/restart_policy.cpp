#include "servers/init/life/restart_policy.hpp"

#include <algorithm>

namespace margay::init {

RestartDecision RestartPolicy::next_build(const char* reason_if_none) {
    if (!limits_.has_fallback || on_fallback_) return freeze(reason_if_none);
    on_fallback_ = true;
    // It has one attempt at this exit, or as many as there are suspects.
    deaths_here_ = 1;
    return RestartDecision::fallback;
}

RestartDecision RestartPolicy::vmm_died(const Death& death) {
    if (deaths_in_window_ == 0 || death.now_ms - window_begin_ms_ >= limits_.window_ms) {
        window_begin_ms_ = death.now_ms;
        deaths_in_window_ = 0;
    }
    ++deaths_in_window_;
    const bool same_exit = death.at_exit && death.sequence == sequence_;
    sequence_ = death.at_exit ? death.sequence : ~0ull;
    deaths_here_ = same_exit ? deaths_here_ + 1 : 1;
    if (death.refused) return next_build("no build can read its device state");
    if (deaths_here_ > std::max(death.suspects, 1u))
        return next_build("one exit killed every VMM it was given to");
    if (deaths_in_window_ > limits_.count) return freeze("its VMMs died too often");
    return RestartDecision::same;
}

void RestartPolicy::begin_anew() {
    sequence_ = ~0ull;
    deaths_here_ = 0;
    deaths_in_window_ = 0;
    on_fallback_ = false;
}

}  // namespace margay::init

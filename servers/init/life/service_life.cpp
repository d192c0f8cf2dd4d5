#include "servers/init/life/service_life.hpp"

namespace margay::init {

void ServiceLife::died(bool worked, bool killed, std::uint64_t now, unsigned weight) {
    ++deaths_;
    idle_deaths_ = worked || killed ? 0 : idle_deaths_ + 1;
    state_ = State::loading;
    if (killed) return;
    if (in_window_ == 0 || now - window_begin_ >= limits_.window) {
        window_begin_ = now;
        in_window_ = 0;
    }
    in_window_ += weight;
    if (in_window_ <= limits_.count) return;
    state_ = State::pausing;
    resumes_ = now + limits_.pause;
    in_window_ = 0;
}

bool ServiceLife::begin(std::uint64_t now) {
    if (state_ != State::pausing || now < resumes_) return false;
    state_ = State::loading;
    return true;
}

}  // namespace margay::init

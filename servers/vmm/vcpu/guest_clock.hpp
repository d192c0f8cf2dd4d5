// The guest's time, derived from the host's TSC.
#pragma once
#include "libipc/system_call.hpp"
#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/time_base.hpp"
#include "servers/vmm/state/journaled.hpp"
#include "servers/vmm/vcpu/glue_state.hpp"

namespace margay::vmm {

class GuestClock final : public Clock {
  public:
    // adjusted: set when offset() has changed and must reach the vCPU.
    GuestClock(Journaled<VcpuGlueState> state, const TimeBase& time, bool& adjusted)
        : state_{state}, time_{time}, adjusted_{adjusted} {}

    std::uint64_t now_ns() override {
        return time_.tsc_to_ns.floor(rdtsc() - state_->host_tsc_at_start);
    }
    std::uint64_t tsc() override { return rdtsc() + offset(); }
    void adjust_tsc(std::uint64_t delta) override {
        state_.edit().tsc_adjust += delta;
        adjusted_ = true;
    }

    // What the processor adds to the host's TSC for the guest.
    std::uint64_t offset() const { return state_->tsc_adjust - state_->host_tsc_at_start; }
    // A time on the now_ns() scale as host TSC.
    std::uint64_t host_tsc(std::uint64_t ns) const {
        return state_->host_tsc_at_start + time_.ns_to_tsc.ceil(ns);
    }

  private:
    Journaled<VcpuGlueState> state_;
    const TimeBase& time_;
    bool& adjusted_;
};

}  // namespace margay::vmm

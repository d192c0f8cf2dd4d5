#include "servers/vmm/cpu/kvm_clock.hpp"

#include <cstddef>
#include <cstring>

namespace margay::vmm {

namespace {

/// struct pvclock_vcpu_time_info: time = system_time + (((tsc - tsc_timestamp) << tsc_shift) * mul >> 32).
struct VcpuTime {
    std::uint32_t version;  ///< odd while being written
    std::uint32_t reserved;
    std::uint64_t tsc_timestamp;
    std::uint64_t system_time;
    std::uint32_t tsc_to_system_mul;
    std::int8_t tsc_shift;
    std::uint8_t flags;
    std::uint8_t padding[2];
};
static_assert(sizeof(VcpuTime) == 32 && offsetof(VcpuTime, tsc_to_system_mul) == 24 &&
              offsetof(VcpuTime, flags) == 29);

/// struct pvclock_wall_clock: the time of day at system time 0.
struct WallClock {
    std::uint32_t version;
    std::uint32_t seconds;
    std::uint32_t nanoseconds;
};
static_assert(sizeof(WallClock) == 12);

constexpr std::uint8_t flag_tsc_stable = 0x01;

void put(std::span<std::byte> window, std::size_t offset, const void* data, std::size_t length) {
    std::memcpy(window.data() + offset, data, length);
}

}  // namespace

void KvmClock::reset(KvmClockState& state, std::uint64_t tsc_khz) noexcept {
    state = {};
    // multiplier = 10^6 / tsc_khz × 2^32 / 2^shift with its top bit set: the best precision of 32 bits.
    std::uint64_t numerator = 1'000'000;
    std::uint64_t denominator = tsc_khz == 0 ? 1 : tsc_khz;
    int shift = 0;
    while (numerator >= denominator) {
        denominator <<= 1;
        ++shift;
    }
    while (numerator * 2 < denominator) {
        numerator <<= 1;
        --shift;
    }
    state.tsc_shift = static_cast<std::int8_t>(shift);
    state.tsc_to_system_mul = static_cast<std::uint32_t>((numerator << 32) / denominator);
}

void KvmClock::write_system_time(std::uint64_t value) {
    state_.edit().system_time = value;
    publish();
}

void KvmClock::publish() {
    if ((state_->system_time & 1) == 0) {
        return;
    }
    const auto window = memory_.window(state_->system_time & ~1ULL, sizeof(VcpuTime));
    if (window.size() != sizeof(VcpuTime)) {
        return;
    }
    VcpuTime time{};
    time.version = state_->version + 1;
    put(window, 0, &time.version, sizeof(time.version));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    time.tsc_timestamp = clock_.tsc();
    time.system_time = clock_.now_ns();
    time.tsc_to_system_mul = state_->tsc_to_system_mul;
    time.tsc_shift = state_->tsc_shift;
    time.flags = flag_tsc_stable;
    put(window, sizeof(time.version), &time.reserved, sizeof(time) - sizeof(time.version));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    state_.edit().version += 2;
    put(window, 0, &state_->version, sizeof(state_->version));
}

void KvmClock::write_wall_clock(std::uint64_t value) {
    state_.edit().wall_clock = value;
    const auto window = memory_.window(value, sizeof(WallClock));
    if (window.size() != sizeof(WallClock)) {
        return;
    }
    WallClock clock{state_->wall_version + 1, static_cast<std::uint32_t>(epoch_s_), 0};
    put(window, 0, &clock, sizeof(clock));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    state_.edit().wall_version += 2;
    put(window, 0, &state_->wall_version, sizeof(state_->wall_version));
}

}  // namespace margay::vmm

#include "servers/vmm/cpu/steal_time.hpp"

#include <cstddef>

namespace margay::vmm {

namespace {

/// struct kvm_steal_time (Linux arch/x86/include/uapi/asm/kvm_para.h).
struct StealPage {
    std::uint64_t steal;    ///< ns
    std::uint32_t version;  ///< odd while being written
    std::uint32_t flags;
    std::uint8_t preempted;
    std::uint8_t padding[47];
};
static_assert(sizeof(StealPage) == 64 && offsetof(StealPage, preempted) == 16);

constexpr std::uint8_t mark = 1, flush = 2;  // in `preempted`; the second is the guest's
constexpr std::uint64_t reserved = 0x3e;

// The guest may change any of it at any time.
std::uint8_t& mark_of(std::byte* page) { return reinterpret_cast<StealPage*>(page)->preempted; }

}  // namespace

std::byte* StealTime::page(std::uint64_t msr) {
    const auto window =
        (msr & 1) != 0 ? memory_.window(msr & ~1ULL, sizeof(StealPage)) : std::span<std::byte>{};
    return window.size() == sizeof(StealPage) ? window.data() : nullptr;
}

MsrResult StealTime::write(std::uint64_t value) {
    if ((value & reserved) != 0) {
        return MsrResult::fault;
    }
    auto& steal = state_.edit().steal;
    steal.msr = value;
    steal.seen = StealState::nothing_seen;
    if (auto* const at = page(value); at != nullptr) {
        const auto& found = *reinterpret_cast<StealPage*>(at);
        steal.ns = __atomic_load_n(&found.steal, __ATOMIC_RELAXED);
        steal.version = __atomic_load_n(&found.version, __ATOMIC_RELAXED) & ~1U;
        static_cast<void>(clear_mark());
    }
    return MsrResult::done;
}

void StealTime::update(std::uint64_t waited) {
    const auto before = state_->steal.seen;
    if (waited == before) {
        return;
    }
    auto& steal = state_.edit().steal;
    steal.seen = waited;
    if (before == StealState::nothing_seen) {
        return;
    }
    steal.ns += time_.tsc_to_ns.floor(waited - before);
    auto* const at = page(steal.msr);
    if (at == nullptr) {
        return;
    }
    auto& shown = *reinterpret_cast<StealPage*>(at);
    __atomic_store_n(&shown.version, steal.version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&shown.steal, steal.ns, __ATOMIC_RELAXED);
    steal.version += 2;
    __atomic_store_n(&shown.version, steal.version, __ATOMIC_RELEASE);
}

void StealTime::begin_anew() noexcept {
    if (is_enabled()) {
        state_.edit().steal.seen = StealState::nothing_seen;
    }
}

void StealTime::set_mark() {
    if (auto* const at = page(state_->steal.msr); at != nullptr) {
        __atomic_fetch_or(&mark_of(at), mark, __ATOMIC_RELEASE);
    }
}

bool StealTime::clear_mark() {
    auto* const at = page(state_->steal.msr);
    return at != nullptr && (__atomic_exchange_n(&mark_of(at), 0, __ATOMIC_SEQ_CST) & flush) != 0;
}

}  // namespace margay::vmm

#include "ukernel/core/estate.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/core/epoch.hpp"

namespace margay {

namespace estate {

std::uint64_t taken = 0;

namespace {

// Fair: who asks first gets it first. One cache line each.
struct alignas(64) Lock {
    std::atomic<std::uint32_t> next{0}, serving{0};
};
Lock table[locks];
std::atomic<Estate> last{0};

std::uint8_t index_of(Estate e) { return static_cast<std::uint8_t>(e % locks); }

// Whoever waits goes on serving other cores, and holds nothing.
void take(std::uint8_t index) {
#ifdef MARGAY_DEBUG
    ++taken;
#endif
    Lock& l = table[index];
    const std::uint32_t mine = l.next.fetch_add(1, std::memory_order_relaxed);
    while (l.serving.load(std::memory_order_acquire) != mine) {
        Core::here().serve_work();
        epoch::pass();
        measure::pause();
    }
}

bool try_take(std::uint8_t index) {
    Lock& l = table[index];
    std::uint32_t serving = l.serving.load(std::memory_order_acquire);
    return l.next.compare_exchange_strong(serving, serving + 1, std::memory_order_acquire);
}

void release(std::uint8_t index) {
    Lock& l = table[index];
    l.serving.store(l.serving.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

}  // namespace

// 0 stays what nobody made an estate of, though others may come to share its lock.
Estate number_new() {
    for (;;)
        if (const Estate e = static_cast<Estate>(last.fetch_add(1) + 1); e != 0) return e;
}

}  // namespace estate

bool EstateLock::want(Estate a, Estate b) {
    if (holds(a) && holds(b)) return true;
    wanted_[0] = a, wanted_[1] = b;
    wants_ = true;
    return false;
}

void EstateLock::take_wanted() {
    wants_ = false;
    release();
    std::uint8_t low = estate::index_of(wanted_[0]), high = estate::index_of(wanted_[1]);
    if (high < low) {
        const std::uint8_t other = low;
        low = high, high = other;
    }
    estate::take(held_[count_++] = low);
    hold_.begin();
    if (high != low) estate::take(held_[count_++] = high);
}

bool EstateLock::holds(Estate e) const {
    for (unsigned i = 0; i < count_; ++i)
        if (held_[i] == estate::index_of(e)) return true;
    return false;
}

bool EstateLock::try_add(Estate e) {
    if (count_ == room || !estate::try_take(estate::index_of(e))) return false;
    held_[count_++] = estate::index_of(e);
    return true;
}

void EstateLock::release() {
    if (count_ != 0) hold_.end_of_estate();
    while (count_ != 0) estate::release(held_[--count_]);
}

}  // namespace margay

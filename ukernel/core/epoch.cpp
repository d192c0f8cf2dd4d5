#include "ukernel/core/epoch.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/core/measure.hpp"

namespace margay::epoch {

namespace {

// The number of the last wait that began. A core that has read it at a point where it held nothing cannot
// find any more what was made unreachable before: it reads the number before it looks anything up.
std::atomic<std::uint64_t> begun{0};

// Calls f for each other core of the set that runs.
template <typename F>
void for_others(const CoreSet& cores, F f) {
    const Core* here = &Core::here();
    cores.for_each([&](unsigned id) {
        Core* core = Core::by_id(id);
        if (core != nullptr && core != here && core->online) f(*core);
    });
}

void ask_to_flush(const CoreSet& cores, std::uint64_t number) {
    for_others(cores, [number](Core& core) {
        std::uint64_t old = core.flush_wanted.load();
        while (old < number && !core.flush_wanted.compare_exchange_weak(old, number)) {}
    });
}

// Until another core has done what it was kicked for; meanwhile this one does what others ask of it.
template <typename IsDone, typename Meanwhile>
void await(Core& core, IsDone is_done, Meanwhile meanwhile) {
    for (unsigned turn = 1; !is_done(core); ++turn) {
        Core::here().serve_work();
        meanwhile();
        core.remind(turn);
        measure::pause();
    }
}

}  // namespace

void pass() { Core::here().epoch.store(begun.load(), std::memory_order_release); }

void wait(const CoreSet& cores, bool flush) {
    const std::uint64_t number = begun.fetch_add(1) + 1;
    if (flush) ask_to_flush(cores, number);
    for_others(cores, [](Core& core) { core.kick(); });
    if (flush) Core::flush_here();
    const auto is_done = [number, flush](const Core& core) {
        return core.epoch.load(std::memory_order_acquire) >= number &&
               (!flush || core.flush_done.load(std::memory_order_acquire) >= number);
    };
    for_others(cores, [&](Core& core) { await(core, is_done, pass); });
}

void flush_translations(const CoreSet& cores) {
    const std::uint64_t number = begun.fetch_add(1) + 1;
    ask_to_flush(cores, number);
    for_others(cores, [](Core& core) { core.kick(); });
    Core::flush_here();
    const auto is_done = [number](const Core& core) {
        return core.flush_done.load(std::memory_order_acquire) >= number;
    };
    for_others(cores, [&](Core& core) { await(core, is_done, [] {}); });
}

}  // namespace margay::epoch

// A budget: the right to run on one core at one priority. Every Context owns one; during a call the
// handler runs on its caller's.
#pragma once
#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cstdint>

#include "ukernel/arch/x86_64/instructions.hpp"

namespace margay {

namespace bi = boost::intrusive;

struct Context;

struct Budget : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    Context* owner = nullptr;
    Context* resume = nullptr;  // who continues when this budget is picked
    std::uint8_t priority = 0;
    // When its turn ends (TSC), if it was interrupted in one that it shares; 0: its next turn is a whole one.
    std::uint64_t turn_end = 0;

    bool is_queued() const { return is_linked(); }

    // How long it has been ready in all without having the core (TSC ticks). A glance, from any core: what is
    // not in it was spent running or asleep, so that a supervisor blames nobody for a core that was busy.
    std::uint64_t waited() const {
        const std::uint64_t since = queued_at_.load(std::memory_order_acquire);
        const std::uint64_t before = waited_.load(std::memory_order_relaxed);
        return since == 0 ? before : before + (cpu::rdtsc() - since);
    }
    // By the run queue, on the budget's core.
    void begin_wait() { queued_at_.store(cpu::rdtsc() | 1, std::memory_order_relaxed); }
    void end_wait() {
        const std::uint64_t since = queued_at_.load(std::memory_order_relaxed);
        waited_.store(waited_.load(std::memory_order_relaxed) + (cpu::rdtsc() - since),
                      std::memory_order_relaxed);
        queued_at_.store(0, std::memory_order_release);
    }

  private:
    std::atomic<std::uint64_t> queued_at_{0};  // TSC; 0: not queued
    std::atomic<std::uint64_t> waited_{0};
};

}  // namespace margay

// Irq: one interrupt source (a global system interrupt of an I/O APIC); delivers to an Event.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/status.hpp"

namespace margay {

struct Event;

constexpr unsigned max_gsi = 128;

struct Irq {
    unsigned gsi;
    std::atomic<Event*> event{nullptr};  // read by the interrupt handler on core 0
    std::uint64_t bits = 0;
    bool level = false;

    explicit Irq(unsigned number) : gsi{number} {}
    void destroy();

    Status bind(Event& to, std::uint64_t event_bits);
    void unbind();
    // The client has served a level-triggered line.
    void acknowledge();

    // The vector of this source fired on this core.
    static void fire(unsigned gsi);
    static bool is_taken(unsigned gsi);
    static void register_source(Irq& irq);
    // Unbinds every source that delivers to the event.
    static void forget(Event& event);
};

}  // namespace margay

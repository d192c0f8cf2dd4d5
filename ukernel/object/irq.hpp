// Irq: one interrupt source (a global system interrupt of an I/O APIC); delivers to an Event.
#pragma once
#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/tree/node.hpp"

namespace margay {

struct Core;
struct Event;

// All words are written on the core that the line is routed to; there, the handler reads them.
struct Irq {
    unsigned gsi;
    Event* event = nullptr;
    std::uint64_t bits = 0;
    bool level = false;
    bool in_service = false;  // a level that its client has still to serve
    Binding binding;          // below the Event's capability

    explicit Irq(unsigned number);

    // The core that takes the interrupts of all lines.
    static Core& core();
    // False if there is one for the line already.
    static bool register_source(Irq& irq);
    void destroy();

    // All on that core.
    void bind(Event& to, std::uint64_t event_bits);
    void unbind();
    // The client has served a level-triggered line.
    void acknowledge();

    // The vector of this source fired on this core.
    static void fire(unsigned gsi);
};

}  // namespace margay

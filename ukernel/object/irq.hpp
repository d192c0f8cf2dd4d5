// Irq: one interrupt source, a line of an I/O APIC or a message of a Device; delivers to an Event.
#pragma once
#include "support/result.hpp"
#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/arch/x86_64/iommu/driver.hpp"
#include "ukernel/core/spin_lock.hpp"
#include "ukernel/tree/node.hpp"

namespace margay {

struct Core;
struct Device;
struct Event;

// All words are written on its own core, which takes a line's interrupts, and a message's unless it was moved. Handlers, on whatever
// core, read what it delivers to under the lock.
struct Irq {
    // A vector of a core.
    struct Place {
        Core* core = nullptr;
        unsigned vector = 0;
    };

    Event* event = nullptr;
    std::uint64_t bits = 0;
    Binding binding;  // below the Event's capability
    Binding origin;   // of a message: below the Device's

    // A global system interrupt. `in_use`: there is an Irq for it already.
    static Result<Irq*> create_line(HostPhys base, unsigned gsi);
    // The entry of a device's interrupt table. `in_use`: it has an Irq; `no_memory`: the core has no vector left;
    // `not_supported`: the core cannot be reached by messages.
    static Result<Irq*> create_message(HostPhys base, Device& device, unsigned index, Core& core);
    void destroy();
    // There is no Irq for the line any more.
    static void free_line(unsigned gsi);

    Core& core() const { return core_; }
    bool is_message() const { return is_message_; }
    unsigned number() const { return number_; }

    // All on that core, but for leave(). bind: `dead_partner` if the Device is gone.
    Status bind(Event& to, std::uint64_t event_bits);
    void unbind();
    // The client has served a level-triggered line.
    void acknowledge();

    // Of a message: that core takes it. What was sent before and comes late still finds its way: its own core's vector is kept for
    // it, and one of another core, which it then has in `left`, is given back there by leave().
    // `not_supported`: the function's own message says where it goes, or the core cannot be reached; `no_memory`: the core has no
    // vector left for messages of others; `dead_partner`: the Device is gone.
    Status move(Core& to, Place& left);
    void leave(const Place& place);

    // How its function sends it. `dead_partner` if the Device is gone. Only of a message.
    Result<iommu::Message> message() const;

    // The vector of this source fired on this core.
    static void fire_line(unsigned gsi);
    static void fire_message(unsigned vector);

  private:
    Irq(unsigned number, Core& core);
    static void end_origin(Binding& b);
    void set_message(const Place& place);
    void deliver_to(Event* to, std::uint64_t event_bits);
    bool signal();

    unsigned number_;  // global system interrupt, or index
    Core& core_;
    bool is_message_ = false;
    unsigned vector_ = 0;       // of a message: on its own core
    Place at_;                  // likewise: where it goes
    Device* device_ = nullptr;  // null: gone
    bool level_ = false;
    bool in_service_ = false;  // a level that its client has still to serve
    SpinLock lock_;            // over event and bits
};

}  // namespace margay

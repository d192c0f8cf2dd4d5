#include "ukernel/object/irq.hpp"

#include <new>

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/device.hpp"
#include "ukernel/object/event.hpp"

namespace margay {

namespace {

// By global system interrupt.
std::atomic<Irq*> lines[max_gsi];

// The core that takes the interrupts of all lines.
Core& line_core() { return *Core::by_id(0); }

// Messages are written with ids of 8 bits, of which the last one is all cores.
constexpr unsigned highest_apic_id = 254;

// One of those from number `first` on; 0: none is left.
unsigned take_vector(Core& core, unsigned first, Irq& irq) {
    for (unsigned i = first; i < message_vectors; ++i) {
        Irq* nobody = nullptr;
        if (core.messages[i].compare_exchange_strong(nobody, &irq))
            return apic::vector::first_message + i;
    }
    return 0;
}

// On its core.
void free_vector(const Irq::Place& place) {
    place.core->messages[place.vector - apic::vector::first_message].store(nullptr);
}

void end_irq_binding(Binding& b) {
    auto* irq = static_cast<Irq*>(b.owner);
    run_on(irq->core(), [irq] { irq->unbind(); });
}

}  // namespace

Irq::Irq(unsigned number, Core& core)
    : binding{end_irq_binding, this}, origin{end_origin, this}, number_{number}, core_{core} {}

Result<Irq*> Irq::create_line(HostPhys base, unsigned gsi) {
    auto* irq = new (direct<void>(base)) Irq{gsi, line_core()};
    Irq* nobody = nullptr;
    if (!lines[gsi].compare_exchange_strong(nobody, irq)) return Status::in_use;
    return irq;
}

Result<Irq*> Irq::create_message(HostPhys base, Device& device, unsigned index, Core& core) {
    if (core.apic_id > highest_apic_id) return Status::not_supported;
    const Status s = device.take_message(index);
    if (s != Status::ok) return s;
    auto* irq = new (direct<void>(base)) Irq{index, core};
    irq->is_message_ = true;
    irq->device_ = &device;
    irq->vector_ = take_vector(core, 0, *irq);
    if (irq->vector_ == 0) {
        device.release_message(index);
        return Status::no_memory;
    }
    irq->at_ = {&core, irq->vector_};
    return irq;
}

void Irq::set_message(const Place& place) {
    if (device_ == nullptr) return;
    device_->set_message(number_, place.vector, place.core->apic_id);
}

// Ordering: the vector is its own before the message is sent there, and the IOMMU has forgotten the old one before that is given
// back. What it had sent by then was taken, or waits at that core: see leave().
Status Irq::move(Core& to, Place& left) {
    if (device_ == nullptr) return Status::dead_partner;
    if (&to == at_.core) return Status::ok;
    if (!iommu::remaps_interrupts() || to.apic_id > highest_apic_id) return Status::not_supported;
    Place next{&to, vector_};
    if (&to != &core_) next.vector = take_vector(to, message_vectors - visiting_vectors, *this);
    if (next.vector == 0) return Status::no_memory;
    if (at_.core != &core_) left = at_;
    at_ = next;
    if (event != nullptr) set_message(at_);
    return Status::ok;
}

// Interrupts are off here: what was sent and not delivered comes when the vector is nobody's, or another one's, any more.
void Irq::leave(const Place& place) {
    if (apic::is_requested(place.vector)) signal();
    free_vector(place);
}

Result<iommu::Message> Irq::message() const {
    if (device_ == nullptr) return Status::dead_partner;
    return device_->message(number_, vector_, core_.apic_id);
}

void Irq::deliver_to(Event* to, std::uint64_t event_bits) {
    const SpinGuard guard{lock_};
    event = to;
    bits = event_bits;
}

// False: nobody wants it.
bool Irq::signal() {
    const SpinGuard guard{lock_};
    if (event == nullptr) return false;
    event->signal(bits);
    return true;
}

Status Irq::bind(Event& to, std::uint64_t event_bits) {
    if (is_message_ && device_ == nullptr) return Status::dead_partner;
    deliver_to(&to, event_bits);
    in_service_ = false;
    if (is_message_) {
        set_message(at_);
        return Status::ok;
    }
    level_ = io_apic::is_level(number_);
    io_apic::unmask(number_, apic::vector::first_gsi + number_, core_.apic_id);
    return Status::ok;
}

void Irq::unbind() {
    if (is_message_)
        set_message({at_.core, 0});
    else
        io_apic::mask(number_);
    deliver_to(nullptr, 0);
    in_service_ = false;
}

void Irq::acknowledge() {
    if (event == nullptr || !in_service_) return;
    in_service_ = false;
    io_apic::unmask(number_, apic::vector::first_gsi + number_, core_.apic_id);
}

// A vector that comes on another core, or without a client, is nobody's: it is not acted on.
void Irq::fire_line(unsigned gsi) {
    if (&Core::here() != &line_core()) return;
    Irq* irq = lines[gsi].load();
    if (irq == nullptr || irq->event == nullptr) {
        io_apic::mask(gsi);
        return;
    }
    // A level stays until its client has served the device.
    if (irq->level_) {
        io_apic::mask(gsi);
        irq->in_service_ = true;
    }
    irq->signal();
}

void Irq::fire_message(unsigned vector) {
    Core& core = Core::here();
    Irq* irq = core.messages[vector - apic::vector::first_message].load();
    if (irq != nullptr && irq->signal())
        ++core.device_messages;
    else
        ++core.stray_interrupts;
}

// The Device goes: what remains is an Irq that nothing fires.
void Irq::end_origin(Binding& b) {
    auto* irq = static_cast<Irq*>(b.owner);
    run_on(irq->core_, [irq] {
        irq->set_message({irq->at_.core, 0});
        irq->deliver_to(nullptr, 0);
        irq->device_->release_message(irq->number_);
        irq->device_ = nullptr;
    });
}

void Irq::free_line(unsigned gsi) { lines[gsi].store(nullptr); }

void Irq::destroy() {
    run_on(core_, [this] {
        unbind();
        if (is_message_)
            free_vector({&core_, vector_});
        else
            free_line(number_);
    });
    // On each core that may be handling it.
    if (is_message_ && at_.core != &core_) run_on(*at_.core, [this] { free_vector(at_); });
}

}  // namespace margay

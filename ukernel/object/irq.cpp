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
    constexpr unsigned highest_apic_id = 254;
    if (core.apic_id > highest_apic_id) return Status::not_supported;
    const Status s = device.take_message(index);
    if (s != Status::ok) return s;
    auto* irq = new (direct<void>(base)) Irq{index, core};
    irq->is_message_ = true;
    irq->device_ = &device;
    for (unsigned i = 0; i < message_vectors; ++i) {
        Irq* nobody = nullptr;
        if (!core.messages[i].compare_exchange_strong(nobody, irq)) continue;
        irq->vector_ = apic::vector::first_message + i;
        return irq;
    }
    device.release_message(index);
    return Status::no_memory;
}

void Irq::set_message(unsigned vector) {
    if (device_ == nullptr) return;
    device_->set_message(number_, vector, core_.apic_id);
}

Result<iommu::Message> Irq::message() const {
    if (device_ == nullptr) return Status::dead_partner;
    return device_->message(number_, vector_, core_.apic_id);
}

Status Irq::bind(Event& to, std::uint64_t event_bits) {
    if (is_message_ && device_ == nullptr) return Status::dead_partner;
    bits = event_bits;
    event = &to;
    in_service_ = false;
    if (is_message_) {
        set_message(vector_);
        return Status::ok;
    }
    level_ = io_apic::is_level(number_);
    io_apic::unmask(number_, apic::vector::first_gsi + number_, core_.apic_id);
    return Status::ok;
}

void Irq::unbind() {
    if (is_message_)
        set_message(0);
    else
        io_apic::mask(number_);
    event = nullptr;
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
    irq->event->signal(irq->bits);
}

void Irq::fire_message(unsigned vector) {
    Core& core = Core::here();
    Irq* irq = core.messages[vector - apic::vector::first_message].load();
    if (irq == nullptr || irq->event == nullptr) {
        ++core.stray_interrupts;
        return;
    }
    irq->event->signal(irq->bits);
}

// The Device goes: what remains is an Irq that nothing fires.
void Irq::end_origin(Binding& b) {
    auto* irq = static_cast<Irq*>(b.owner);
    run_on(irq->core_, [irq] {
        irq->set_message(0);
        irq->event = nullptr;
        irq->device_->release_message(irq->number_);
        irq->device_ = nullptr;
    });
}

void Irq::free_line(unsigned gsi) { lines[gsi].store(nullptr); }

void Irq::destroy() {
    run_on(core_, [this] {
        unbind();
        if (is_message_)
            core_.messages[vector_ - apic::vector::first_message].store(nullptr);
        else
            free_line(number_);
    });
}

}  // namespace margay

#include "ukernel/object/irq.hpp"

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/core/core.hpp"

namespace margay {

namespace {
// By global system interrupt. Written under the capability lock, read by the interrupt handler of the
// core that the line is routed to.
std::atomic<Irq*> sources[max_gsi];
}  // namespace

bool Irq::is_taken(unsigned gsi) { return sources[gsi].load() != nullptr; }
void Irq::register_source(Irq& irq) { sources[irq.gsi].store(&irq); }

Status Irq::bind(Event& to, std::uint64_t event_bits) {
    bits = event_bits;
    event = &to;
    level = io_apic::is_level(gsi);
    io_apic::unmask(gsi, apic::vector::first_gsi + gsi, Core::by_id(0)->apic_id);
    return Status::ok;
}

void Irq::unbind() {
    io_apic::mask(gsi);
    event = nullptr;
}

void Irq::acknowledge() {
    if (event != nullptr && level)
        io_apic::unmask(gsi, apic::vector::first_gsi + gsi, Core::by_id(0)->apic_id);
}

void Irq::fire(unsigned gsi) {
    Irq* irq = sources[gsi].load();
    Event* to = irq != nullptr ? irq->event.load() : nullptr;
    if (to == nullptr) {
        io_apic::mask(gsi);
        return;
    }
    // A level stays until its client has served the device.
    if (irq->level) io_apic::mask(gsi);
    to->signal(irq->bits);
}

void Irq::forget(Event& event) {
    for (auto& source : sources) {
        Irq* irq = source.load();
        if (irq != nullptr && irq->event.load() == &event) irq->unbind();
    }
}

void Irq::destroy() {
    unbind();
    sources[gsi].store(nullptr);
    // Interrupts are routed to core 0: once it has passed here, no handler still uses the object.
    run_on(*Core::by_id(0), [] {});
}

}  // namespace margay

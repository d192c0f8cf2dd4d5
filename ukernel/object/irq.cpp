#include "ukernel/object/irq.hpp"

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/event.hpp"

namespace margay {

namespace {
// By global system interrupt.
std::atomic<Irq*> sources[max_gsi];

void end_binding(Binding& b) {
    run_on(Irq::core(), [&b] { static_cast<Irq*>(b.owner)->unbind(); });
}
}  // namespace

Irq::Irq(unsigned number) : gsi{number}, binding{end_binding, this} {}

Core& Irq::core() { return *Core::by_id(0); }

bool Irq::register_source(Irq& irq) {
    Irq* nobody = nullptr;
    return sources[irq.gsi].compare_exchange_strong(nobody, &irq);
}

void Irq::bind(Event& to, std::uint64_t event_bits) {
    bits = event_bits;
    event = &to;
    level = io_apic::is_level(gsi);
    in_service = false;
    io_apic::unmask(gsi, apic::vector::first_gsi + gsi, core().apic_id);
}

void Irq::unbind() {
    io_apic::mask(gsi);
    event = nullptr;
    in_service = false;
}

void Irq::acknowledge() {
    if (event == nullptr || !in_service) return;
    in_service = false;
    io_apic::unmask(gsi, apic::vector::first_gsi + gsi, core().apic_id);
}

// A vector that comes on another core, or without a client, is nobody's: it is not acted on.
void Irq::fire(unsigned gsi) {
    if (&Core::here() != &core()) return;
    Irq* irq = sources[gsi].load();
    if (irq == nullptr || irq->event == nullptr) {
        io_apic::mask(gsi);
        return;
    }
    // A level stays until its client has served the device.
    if (irq->level) {
        io_apic::mask(gsi);
        irq->in_service = true;
    }
    irq->event->signal(irq->bits);
}

void Irq::destroy() {
    run_on(core(), [this] {
        unbind();
        sources[gsi].store(nullptr);
    });
}

}  // namespace margay

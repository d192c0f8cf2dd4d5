#include "servers/vmm/devices/local_apic.hpp"

#include "servers/vmm/devices/local_apic_bits.hpp"

#include <bit>

namespace margay::vmm {

namespace {

constexpr std::uint8_t eoi_bit = 0x01;  // of the guest's EOI word

std::int32_t highest(const std::uint64_t (&bitmap)[4]) noexcept {
    for (int word = 3; word >= 0; --word) {
        if (bitmap[word] != 0) {
            return word * 64 + 63 - std::countl_zero(bitmap[word]);
        }
    }
    return -1;
}

void set(std::uint64_t (&bitmap)[4], std::uint8_t vector) noexcept {
    bitmap[vector >> 6] |= 1ULL << (vector & 63);
}

void clear(std::uint64_t (&bitmap)[4], std::uint8_t vector) noexcept {
    bitmap[vector >> 6] &= ~(1ULL << (vector & 63));
}

bool test(const std::uint64_t (&bitmap)[4], std::uint8_t vector) noexcept {
    return (bitmap[vector >> 6] >> (vector & 63) & 1) != 0;
}

bool empty(const std::uint64_t (&bitmap)[4]) noexcept {
    return (bitmap[0] | bitmap[1] | bitmap[2] | bitmap[3]) == 0;
}

}  // namespace

void LocalApic::reset(LocalApicState& state, std::uint32_t id, bool x2apic) noexcept {
    state = {};
    state.base =
        local_apic_address | apic::base_enable | apic::base_bsp | (x2apic ? apic::base_x2apic : 0);
    state.id = id;
    state.destination_format = 0xffff'ffff;
    state.spurious = apic::software_enable | 0x0f;
    for (auto& entry : state.lvt) {
        entry = apic::lvt_masked;
    }
    state.lvt[apic::lint0] = static_cast<std::uint32_t>(DeliveryMode::external) << 8;
    state.lvt[apic::lint1] = static_cast<std::uint32_t>(DeliveryMode::nmi) << 8;
    state.deliverable = -1;
    state.deadline_ns = no_deadline;
}

std::uint32_t LocalApic::processor_priority() const noexcept {
    const auto serving = highest(state_->in_service);
    const auto service_class = serving < 0 ? 0U : static_cast<std::uint32_t>(serving) & 0xf0U;
    return (state_->task_priority & 0xf0) >= service_class ? state_->task_priority : service_class;
}

void LocalApic::update() noexcept {
    const auto candidate = highest(state_->requests);
    const auto above =
        candidate >= 0 && static_cast<std::uint32_t>(candidate) >> 4 > processor_priority() >> 4;
    const auto deliverable = above && (state_->base & apic::base_enable) != 0 ? candidate : -1;
    if (deliverable != state_->deliverable) {
        state_.edit().deliverable = deliverable;
    }
}

void LocalApic::set_task_priority(std::uint8_t value) noexcept {
    state_.edit().task_priority = value;
    update();
}

void LocalApic::request(std::uint8_t vector, bool level) noexcept {
    // From now on the guest's EOI must be seen. What it has completed makes no other one deliverable than update() finds.
    if (state_->eoi_assist_armed != 0) (void)check_eoi_assist();
    auto& state = state_.edit();
    set(state.requests, vector);
    if (level) {
        set(state.level, vector);
    } else {
        clear(state.level, vector);
    }
    update();
}

void LocalApic::initialise(LocalApicState& state, std::uint32_t id, std::uint64_t base) noexcept {
    state = {};
    state.base = base;
    state.id = id;
    state.destination_format = 0xffff'ffff;
    state.spurious = 0xff;
    for (auto& entry : state.lvt) {
        entry = apic::lvt_masked;
    }
    state.deliverable = -1;
    state.deadline_ns = no_deadline;
}

void LocalApic::take_init() noexcept {
    sync_eoi_assist();
    auto& state = state_.edit();
    const auto nmi = state.nmi_pending, startup = state.startup_pending,
               vector = state.startup_vector;
    initialise(state, state.id, state.base);
    state.nmi_pending = nmi;
    state.startup_pending = startup;
    state.startup_vector = vector;
}

std::uint8_t LocalApic::take_startup() noexcept {
    state_.edit().startup_pending = 0;
    return state_->startup_vector;
}

bool LocalApic::accepts(const LocalApicState& state, std::uint32_t destination,
                        bool logical) noexcept {
    constexpr auto both = apic::base_enable | apic::base_x2apic;
    if ((state.base & both) == both) {
        if (destination == 0xffff'ffff || (destination == 0xff && !logical)) {
            return true;  // the I/O APIC has only eight bits for "all"
        }
        if (!logical) {
            return destination == state.id;
        }
        return destination >> 16 == state.id >> 4 && (destination >> (state.id & 15) & 1) != 0;
    }
    destination &= 0xff;
    if (!logical) {
        return destination == 0xff || destination == state.id;
    }
    const auto own = state.logical_destination >> 24;
    if (state.destination_format >> 28 == 0xf) {  // flat
        return (own & destination) != 0;
    }
    return (own >> 4 == destination >> 4 || destination >> 4 == 0xf) &&
           (own & destination & 0x0f) != 0;
}

void LocalApic::receive(const ApicMessage& message) noexcept {
    if ((state_->base & apic::base_enable) == 0) {
        return;
    }
    switch (message.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest_priority:
        if (!software_enabled()) {
            return;
        }
        if (message.vector < 16) {
            error(apic::error_receive_vector);
            return;
        }
        request(message.vector, message.level);
        break;
    case DeliveryMode::nmi: state_.edit().nmi_pending = 1; break;
    case DeliveryMode::init: state_.edit().init_pending = 1; break;
    case DeliveryMode::startup:
        state_.edit().startup_pending = 1;
        state_.edit().startup_vector = message.vector;
        break;
    default:  // SMI: there is no system management mode
        break;
    }
}

bool LocalApic::passes_external() const noexcept {
    if ((state_->base & apic::base_enable) == 0) {
        return true;  // then LINT0 is the processor's INTR pin
    }
    const auto entry = state_->lvt[apic::lint0];
    return (entry & apic::lvt_masked) == 0 && apic::lvt_mode(entry) == DeliveryMode::external;
}

void LocalApic::raise_nmi_line() noexcept {
    const auto entry = state_->lvt[apic::lint1];
    if ((entry & apic::lvt_masked) == 0 && apic::lvt_mode(entry) == DeliveryMode::nmi) {
        state_.edit().nmi_pending = 1;
    }
}

void LocalApic::offer(std::uint8_t vector) noexcept {
    if ((state_->eoi_assist & 1) == 0) {
        return;
    }
    if (state_->eoi_assist_armed != 0) {
        if (state_->eoi_assist_vector == vector && !test(state_->in_service, vector)) {
            return;
        }
        sync_eoi_assist();
    }
    // Safe only if the next EOI the guest makes can be none but this vector's, and if nothing waits for it.
    const unsigned own = vector >> 6U;
    const auto& requests = state_->requests;
    const std::uint64_t others = requests[own ^ 1] | requests[own ^ 2] | requests[own ^ 3] |
                                 (requests[own] & ~(1ULL << (vector & 63)));
    if (others != 0 || !empty(state_->in_service) || test(state_->level, vector)) {
        return;
    }
    auto* const word = words_.edit(state_->eoi_assist & ~3ULL);
    if (word != nullptr) {
        *word |= std::byte{eoi_bit};
        auto& state = state_.edit();
        state.eoi_assist_armed = 1;
        state.eoi_assist_vector = vector;
    }
}

void LocalApic::withdraw() noexcept { sync_eoi_assist(); }

void LocalApic::taken(std::uint8_t vector) noexcept {
    auto& state = state_.edit();
    clear(state.requests, vector);
    set(state.in_service, vector);
    update();
}

/// Find out whether the guest completed the assisted vector in memory, and make its next EOI a real one. True: it did, and
/// update() is due.
[[gnu::noinline]] bool LocalApic::check_eoi_assist() {
    state_.edit().eoi_assist_armed = 0;
    const auto vector = state_->eoi_assist_vector;
    auto* const word = words_.edit(state_->eoi_assist & ~3ULL);
    if (word == nullptr) {
        return false;
    }
    const auto untouched = (*word & std::byte{eoi_bit}) != std::byte{0};
    *word &= ~std::byte{eoi_bit};
    if (untouched || !test(state_->in_service, vector)) {
        return false;
    }
    retire(vector);
    return true;
}

MsrResult LocalApic::write_eoi_assist(std::uint64_t value) {
    if ((value & 2) != 0 || ((value & 1) != 0 && !words_.is_ram(value & ~3ULL))) {
        return MsrResult::fault;
    }
    sync_eoi_assist();
    state_.edit().eoi_assist = value;
    return MsrResult::done;
}

void LocalApic::end_of_interrupt() {
    sync_eoi_assist();
    const auto vector = highest(state_->in_service);
    if (vector >= 0) {
        retire(static_cast<std::uint8_t>(vector));
        update();
    }
}

void LocalApic::retire(std::uint8_t vector) {
    clear(state_.edit().in_service, vector);
    if (test(state_->level, vector)) {
        bus_.end_of_interrupt(vector);
    }
}

[[gnu::noinline, gnu::cold]] void LocalApic::error(std::uint32_t bit) {
    state_.edit().error_pending |= bit;
    const auto entry = state_->lvt[apic::lvt_error];
    const auto vector = static_cast<std::uint8_t>(entry);
    if ((entry & apic::lvt_masked) == 0 && vector >= 16) {
        request(vector, false);
    }
}

}  // namespace margay::vmm

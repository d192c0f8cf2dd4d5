#include "servers/vmm/devices/io_apic.hpp"

namespace margay::vmm {

namespace {

constexpr std::uint64_t entry_masked = 1ULL << 16;
constexpr std::uint64_t entry_level = 1ULL << 15;
constexpr std::uint64_t entry_remote_irr = 1ULL << 14;
constexpr std::uint64_t entry_polarity = 1ULL << 13;
constexpr std::uint64_t entry_status = 1ULL << 12;
constexpr std::uint64_t entry_logical = 1ULL << 11;
constexpr std::uint64_t entry_mode = 7ULL << 8;
constexpr std::uint64_t entry_destination = 0xffULL << 56;
constexpr std::uint64_t entry_writable = entry_destination | entry_masked | entry_level |
                                         entry_polarity | entry_logical | entry_mode | 0xff;
constexpr std::uint64_t entry_read_only = entry_remote_irr | entry_status;

unsigned pins_of(const IoApicState& s) { return s.pins == 0 ? io_apic_pins : s.pins; }

constexpr DeliveryMode mode_of(std::uint64_t entry) {
    return static_cast<DeliveryMode>((entry >> 8) & 7);
}

}  // namespace

void IoApic::reset(IoApicState& state) noexcept {
    state = {};
    state.pins = isa_pins;
    for (auto& entry : state.redirection) {
        entry = entry_masked;
    }
}

void IoApic::set_line(unsigned pin, bool asserted) {
    if (pin >= pins_of(*state_)) {
        return;
    }
    const auto bit = 1U << pin;
    const auto was = (state_->levels & bit) != 0;
    if (was == asserted) {
        return;
    }
    const auto level = (state_->redirection[pin] & entry_level) != 0;
    auto& state = state_.edit();
    if (asserted) {
        state.levels |= bit;
        state.requests |= bit;
        service(pin);
    } else {
        state.levels &= ~bit;
        if (level) {
            state.requests &= ~bit;
        }
    }
}

bool IoApic::passes_external() const noexcept {
    const auto entry = state_->redirection[0];
    return (entry & entry_masked) == 0 && mode_of(entry) == DeliveryMode::external;
}

void IoApic::service(unsigned pin) {
    const auto bit = 1U << pin;
    const auto entry = state_->redirection[pin];
    if ((state_->requests & bit) == 0 || (entry & entry_masked) != 0) {
        return;
    }
    const auto mode = mode_of(entry);
    if (mode == DeliveryMode::external) {
        return;  // see passes_external()
    }
    const auto queued = mode == DeliveryMode::fixed || mode == DeliveryMode::lowest_priority;
    const auto level = queued && (entry & entry_level) != 0;
    if (level) {
        if ((entry & entry_remote_irr) != 0) {
            return;
        }
        state_.edit().redirection[pin] |= entry_remote_irr;
    } else {
        state_.edit().requests &= ~bit;
    }
    bus_.deliver({static_cast<std::uint32_t>(entry >> 56), static_cast<std::uint8_t>(entry), mode,
                  (entry & entry_logical) != 0, level});
}

void IoApic::end_of_interrupt(std::uint8_t vector) {
    for (unsigned pin = 0; pin < pins_of(*state_); ++pin) {
        const auto entry = state_->redirection[pin];
        if ((entry & entry_remote_irr) != 0 && (entry & 0xff) == vector) {
            state_.edit().redirection[pin] &= ~entry_remote_irr;
            bus_.input_served(pin);
            service(pin);
        }
    }
}

std::uint64_t IoApic::mmio_read(std::uint32_t offset, unsigned width) const noexcept {
    if (width != 4) {
        return width == 8 ? ~0ULL : (1ULL << (8 * width)) - 1;
    }
    switch (offset & 0xff) {
    case 0x00: return state_->index;
    case 0x10: return read_register(state_->index);
    default: return 0;
    }
}

void IoApic::mmio_write(std::uint32_t offset, unsigned width, std::uint64_t value) {
    if (width != 4) {
        return;
    }
    switch (offset & 0xff) {
    case 0x00: state_.edit().index = static_cast<std::uint8_t>(value); break;
    case 0x10: write_register(state_->index, static_cast<std::uint32_t>(value)); break;
    case 0x40: end_of_interrupt(static_cast<std::uint8_t>(value)); break;
    default: break;
    }
}

std::uint32_t IoApic::read_register(unsigned index) const noexcept {
    switch (index) {
    case 0:  // ID
    case 2:  // arbitration
        return static_cast<std::uint32_t>(state_->id) << 24;
    case 1: return 0x20 | (pins_of(*state_) - 1) << 16;
    default: break;
    }
    const auto pin = (index - 0x10) / 2;
    if (index < 0x10 || pin >= pins_of(*state_)) {
        return 0;
    }
    return static_cast<std::uint32_t>(state_->redirection[pin] >> ((index & 1) * 32));
}

void IoApic::write_register(unsigned index, std::uint32_t value) {
    if (index == 0) {
        state_.edit().id = (value >> 24) & 0x0f;
        return;
    }
    const auto pin = (index - 0x10) / 2;
    if (index < 0x10 || pin >= pins_of(*state_)) {
        return;
    }
    auto& state = state_.edit();
    auto& entry = state.redirection[pin];
    const auto before = entry;
    const auto shift = (index & 1) * 32;
    const auto half = 0xffff'ffffULL << shift;
    auto next = (before & ~half) | (static_cast<std::uint64_t>(value) << shift);
    next = (next & entry_writable) | (before & entry_read_only);
    if ((next & entry_level) == 0) {
        next &=
            ~entry_remote_irr;  // an edge-triggered entry has none: how old kernels clear a stuck one
    }
    entry = next;
    const auto bit = 1U << pin;
    if ((next & entry_level) != 0) {
        state.requests = (state.requests & ~bit) | (state.levels & bit);
    } else if ((before & entry_level) != 0) {
        state.requests &= ~bit;  // a level request does not become an edge
    }
    if ((before & ~next & entry_remote_irr) != 0) {
        bus_.input_served(pin);
    }
    service(pin);
}

}  // namespace margay::vmm

#include "servers/vmm/devices/pic.hpp"

#include <bit>

namespace margay::vmm {

namespace {

constexpr unsigned cascade_input = 2;
constexpr std::uint8_t master_fixed_edge = 0x07;  // inputs 0..2 cannot be level triggered
constexpr std::uint8_t slave_fixed_edge = 0x21;   // inputs 8 and 13

constexpr std::uint8_t bit(unsigned input) { return static_cast<std::uint8_t>(1U << input); }

}  // namespace

void Pic::reset(PicState& state) noexcept {
    state = {};
    for (auto& chip : state.chip) {
        chip.mask = 0xff;
        chip.lowest = 7;
    }
    state.chip[0].vector_base = 0x08;
    state.chip[1].vector_base = 0x70;
    state.chip[1].level_trigger = 0x02;  // the SCI, IRQ 9
}

void Pic::set_line(unsigned irq, bool asserted) noexcept {
    if (irq > 15 || irq == cascade_input) {
        return;
    }
    set_input(state_.edit().chip[irq >> 3], irq & 7, asserted);
    update();
}

void Pic::set_input(PicChipState& chip, unsigned input, bool asserted) noexcept {
    const auto mask = bit(input);
    if ((chip.level_trigger & mask) != 0) {
        chip.requests =
            static_cast<std::uint8_t>(asserted ? chip.requests | mask : chip.requests & ~mask);
    } else if (asserted && (chip.levels & mask) == 0) {
        chip.requests |= mask;
    }
    chip.levels = static_cast<std::uint8_t>(asserted ? chip.levels | mask : chip.levels & ~mask);
}

/// The input of `bits` with the highest priority, as distance from the highest: 0..7, or 8 for none.
int Pic::highest(const PicChipState& chip, std::uint8_t bits) noexcept {
    if (bits == 0) {
        return 8;
    }
    return std::countr_zero(std::rotr(bits, (chip.lowest + 1) & 7));
}

/// The input that asks for service and is not held back by one in service, or -1.
int Pic::pending(const PicChipState& chip, bool is_master) noexcept {
    if (chip.init_step != 0) {
        return -1;
    }
    const auto candidate = highest(chip, static_cast<std::uint8_t>(chip.requests & ~chip.mask));
    if (candidate == 8) {
        return -1;
    }
    auto serving = chip.in_service;
    if (chip.special_mask != 0) {
        serving &= static_cast<std::uint8_t>(~chip.mask);
    }
    if (chip.special_fully_nested != 0 && is_master) {
        serving &= static_cast<std::uint8_t>(~bit(cascade_input));
    }
    if (candidate >= highest(chip, serving)) {
        return -1;
    }
    return (candidate + chip.lowest + 1) & 7;
}

void Pic::update() noexcept {
    // The slave's output is an edge-triggered input of the master; it falls between two requests.
    auto& state = state_.edit();
    const auto slave = pending(state.chip[1], false) >= 0;
    auto& master = state.chip[0];
    master.requests = static_cast<std::uint8_t>(slave ? master.requests | bit(cascade_input)
                                                      : master.requests & ~bit(cascade_input));
    state.output = pending(master, true) >= 0 ? 1 : 0;
}

std::uint8_t Pic::peek() const noexcept {
    const auto& master = state_->chip[0];
    const auto input = pending(master, true);
    if (input < 0) {
        return static_cast<std::uint8_t>(master.vector_base | 7);
    }
    if (input != static_cast<int>(cascade_input)) {
        return static_cast<std::uint8_t>(master.vector_base | input);
    }
    const auto& slave = state_->chip[1];
    const auto cascaded = pending(slave, false);
    return static_cast<std::uint8_t>(slave.vector_base | (cascaded < 0 ? 7 : cascaded));
}

std::uint8_t Pic::acknowledge() noexcept {
    const auto vector = peek();
    const auto input = pending(state_->chip[0], true);
    if (input >= 0) {
        if (input == static_cast<int>(cascade_input)) {
            const auto cascaded = pending(state_->chip[1], false);
            if (cascaded >= 0) {
                acknowledge(state_.edit().chip[1], static_cast<unsigned>(cascaded));
            }
        }
        acknowledge(state_.edit().chip[0], static_cast<unsigned>(input));
        update();
    }
    return vector;
}

void Pic::acknowledge(PicChipState& chip, unsigned input) noexcept {
    const auto mask = bit(input);
    if ((chip.level_trigger & mask) == 0) {
        chip.requests &= static_cast<std::uint8_t>(~mask);
    }
    if (chip.auto_eoi == 0) {
        chip.in_service |= mask;
    } else if (chip.rotate_on_auto_eoi != 0) {
        chip.lowest = static_cast<std::uint8_t>(input);
    }
}

std::uint8_t Pic::read(std::uint16_t port) noexcept {
    if ((port & 0xfffe) == 0x4d0) {
        return state_->chip[port & 1].level_trigger;
    }
    const auto index = (port & 0x80) != 0 ? 1U : 0U;
    if (state_->chip[index].poll != 0) {
        auto& chip = state_.edit().chip[index];
        chip.poll = 0;
        const auto input = pending(chip, index == 0);
        if (input < 0) {
            return 0x07;
        }
        acknowledge(chip, static_cast<unsigned>(input));
        update();
        return static_cast<std::uint8_t>(0x80 | input);
    }
    const auto& chip = state_->chip[index];
    if ((port & 1) != 0) {
        return chip.mask;
    }
    return chip.read_in_service != 0 ? chip.in_service : chip.requests;
}

void Pic::write(std::uint16_t port, std::uint8_t value) noexcept {
    if ((port & 0xfffe) == 0x4d0) {
        const auto index = port & 1U;
        const auto fixed = index == 0 ? master_fixed_edge : slave_fixed_edge;
        auto& chip = state_.edit().chip[index];
        chip.level_trigger = static_cast<std::uint8_t>(value & ~fixed);
        chip.requests = static_cast<std::uint8_t>((chip.requests & ~chip.level_trigger) |
                                                  (chip.levels & chip.level_trigger));
        update();
        return;
    }
    const auto index = (port & 0x80) != 0 ? 1U : 0U;
    if ((port & 1) != 0) {
        write_data(index, value);
    } else {
        write_command(index, value);
    }
    update();
}

void Pic::write_command(unsigned index, std::uint8_t value) noexcept {
    auto& chip = state_.edit().chip[index];
    if ((value & 0x10) != 0) {  // ICW1
        const auto levels = chip.levels;
        const auto triggers = chip.level_trigger;
        const auto base = chip.vector_base;
        chip = {};
        chip.levels = levels;
        chip.level_trigger = triggers;
        chip.vector_base = base;
        chip.requests = static_cast<std::uint8_t>(levels & triggers);
        chip.lowest = 7;
        chip.init_step = 2;
        chip.expects_icw4 = value & 1;
    } else if ((value & 0x08) != 0) {  // OCW3
        chip.poll = (value >> 2) & 1;
        if ((value & 0x02) != 0) {
            chip.read_in_service = value & 1;
        }
        if ((value & 0x40) != 0) {
            chip.special_mask = (value >> 5) & 1;
        }
    } else {
        end_of_interrupt(chip, value);
    }
}

void Pic::end_of_interrupt(PicChipState& chip, std::uint8_t command) noexcept {
    const auto rotate = (command & 0x80) != 0;
    const auto specific = (command & 0x40) != 0;
    const auto complete = (command & 0x20) != 0;
    unsigned input = command & 7;
    if (!complete) {
        if (rotate && specific) {
            chip.lowest = static_cast<std::uint8_t>(input);  // set priority
        } else if (!specific) {
            chip.rotate_on_auto_eoi = rotate ? 1 : 0;
        }
        return;
    }
    if (!specific) {
        const auto distance = highest(chip, chip.in_service);
        if (distance == 8) {
            return;
        }
        input = (static_cast<unsigned>(distance) + chip.lowest + 1) & 7;
    }
    chip.in_service &= static_cast<std::uint8_t>(~bit(input));
    if (rotate) {
        chip.lowest = static_cast<std::uint8_t>(input);
    }
}

void Pic::write_data(unsigned index, std::uint8_t value) noexcept {
    auto& chip = state_.edit().chip[index];
    switch (chip.init_step) {
    case 2:
        chip.vector_base = value & 0xf8;
        chip.init_step = 3;
        break;
    case 3:  // the cascade is wired: the value says nothing new
        chip.init_step = chip.expects_icw4 != 0 ? 4 : 0;
        break;
    case 4:
        chip.auto_eoi = (value >> 1) & 1;
        chip.special_fully_nested = (value >> 4) & 1;
        chip.init_step = 0;
        break;
    default: chip.mask = value; break;
    }
}

}  // namespace margay::vmm

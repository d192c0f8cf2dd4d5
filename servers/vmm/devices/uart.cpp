#include "servers/vmm/devices/uart.hpp"

namespace margay::vmm {

namespace {

// IER
constexpr std::uint8_t ier_receive = 0x01;
constexpr std::uint8_t ier_transmit = 0x02;
constexpr std::uint8_t ier_line = 0x04;
constexpr std::uint8_t ier_modem = 0x08;
// IIR
constexpr std::uint8_t iir_none = 0x01;
constexpr std::uint8_t iir_modem = 0x00;
constexpr std::uint8_t iir_transmit = 0x02;
constexpr std::uint8_t iir_receive = 0x04;
constexpr std::uint8_t iir_line = 0x06;
constexpr std::uint8_t iir_timeout = 0x0c;
constexpr std::uint8_t iir_fifos = 0xc0;
// FCR
constexpr std::uint8_t fcr_enable = 0x01;
constexpr std::uint8_t fcr_clear_receive = 0x02;
// LCR
constexpr std::uint8_t lcr_divisor = 0x80;
// MCR
constexpr std::uint8_t mcr_out2 = 0x08;
constexpr std::uint8_t mcr_loop = 0x10;
// LSR
constexpr std::uint8_t lsr_ready = 0x01;
constexpr std::uint8_t lsr_overrun = 0x02;
constexpr std::uint8_t lsr_empty = 0x60;  // holding and shift register

}  // namespace

void Uart::reset(UartState& state) noexcept {
    state = {};
    state.divisor_low = 12;  // 9600 baud
    state.line_control = 0x03;
    state.transmit_pending = 1;
}

std::uint8_t Uart::read(unsigned offset) {
    if (offset == 5 && state_->overrun == 0) [[likely]] {
        return state_->receive_count != 0 ? lsr_empty | lsr_ready : lsr_empty;
    }
    return read_other(offset);
}

[[gnu::noinline]] std::uint8_t Uart::read_other(unsigned offset) {
    switch (offset) {
    case 5: {
        const auto ready = state_->receive_count != 0 ? lsr_ready : 0;
        state_.edit().overrun = 0;
        drive();
        return static_cast<std::uint8_t>(lsr_empty | lsr_overrun | ready);
    }
    case 0: return (state_->line_control & lcr_divisor) != 0 ? state_->divisor_low : pop();
    case 1:
        return (state_->line_control & lcr_divisor) != 0 ? state_->divisor_high
                                                         : state_->interrupt_enable;
    case 2: {
        const auto id = identification();
        if (id == iir_transmit) {
            state_.edit().transmit_pending = 0;
            drive();
        }
        return static_cast<std::uint8_t>(
            id | ((state_->fifo_control & fcr_enable) != 0 ? iir_fifos : 0));
    }
    case 3: return state_->line_control;
    case 4: return state_->modem_control;
    case 6: {
        const auto status = modem_status();
        if (state_->modem_delta != 0) {
            state_.edit().modem_delta = 0;
            drive();
        }
        return status;
    }
    case 7: return state_->scratch;
    default: return 0xff;
    }
}

void Uart::write(unsigned offset, std::uint8_t value) {
    if (offset == 0 && (state_->line_control & lcr_divisor) == 0) [[likely]] {
        transmit(value);
    } else {
        write_other(offset, value);
    }
}

[[gnu::noinline]] void Uart::write_other(unsigned offset, std::uint8_t value) {
    auto& state = state_.edit();
    switch (offset) {
    case 0: state.divisor_low = value; break;
    case 1:
        if ((state.line_control & lcr_divisor) != 0) {
            state.divisor_high = value;
        } else {
            if ((~state.interrupt_enable & value & ier_transmit) != 0) {
                state.transmit_pending = 1;  // enabling it with an empty transmitter interrupts
            }
            state.interrupt_enable = value & 0x0f;
            drive();
        }
        break;
    case 2: write_fifo_control(value); break;
    case 3: state.line_control = value; break;
    case 4: write_modem_control(value); break;
    case 7: state.scratch = value; break;
    default:  // LSR and MSR: a factory test, no effect
        break;
    }
}

[[gnu::noinline]] void Uart::transmit(std::uint8_t byte) {
    if (state_->transmit_pending == 0) {
        state_.edit().transmit_pending = 1;
    }
#if MARGAY_NEXT_STATE
    ++state_.edit().transmitted;
#endif
    if ((state_->modem_control & mcr_loop) != 0) [[unlikely]] {
        loop_back(byte);
        return;
    }
    sink_.put(byte);
    if ((state_->interrupt_enable & ier_transmit) != 0) {
        drive();
    }
}

[[gnu::noinline]] void Uart::loop_back(std::uint8_t byte) {
    if (state_->receive_count < capacity()) {
        push(byte);
    } else {
        state_.edit().overrun = 1;
    }
    drive();
}

bool Uart::receive(std::uint8_t byte) {
    if ((state_->modem_control & mcr_loop) != 0 || state_->receive_count >= capacity()) {
        state_.edit().refused_input = 1;
        return false;
    }
    push(byte);
    drive();
    return true;
}

unsigned Uart::capacity() const noexcept {
    return (state_->fifo_control & fcr_enable) != 0 ? 16 : 1;
}

void Uart::push(std::uint8_t byte) noexcept {
    auto& state = state_.edit();
    state.receive[(state.receive_head + state.receive_count) & 15] = byte;
    ++state.receive_count;
}

std::uint8_t Uart::pop() {
    if (state_->receive_count == 0) {
        return 0;
    }
    auto& state = state_.edit();
    const auto byte = state.receive[state.receive_head & 15];
    state.receive_head = (state.receive_head + 1) & 15;
    --state.receive_count;
    drive();
    if (state.refused_input != 0 && (state.modem_control & mcr_loop) == 0) {
        state.refused_input = 0;
        sink_.input_room();
    }
    return byte;
}

std::uint8_t Uart::identification() const noexcept {
    static constexpr std::uint8_t triggers[4] = {1, 4, 8, 14};
    if ((state_->interrupt_enable & ier_line) != 0 && state_->overrun != 0) {
        return iir_line;
    }
    if ((state_->interrupt_enable & ier_receive) != 0 && state_->receive_count != 0) {
        const auto trigger =
            (state_->fifo_control & fcr_enable) != 0 ? triggers[state_->fifo_control >> 6] : 1;
        return state_->receive_count >= trigger ? iir_receive : iir_timeout;
    }
    if ((state_->interrupt_enable & ier_transmit) != 0 && state_->transmit_pending != 0) {
        return iir_transmit;
    }
    if ((state_->interrupt_enable & ier_modem) != 0 && state_->modem_delta != 0) {
        return iir_modem;
    }
    return iir_none;
}

std::uint8_t Uart::modem_status() const noexcept {
    // Outside loopback the line is always there: DCD, DSR and CTS. In loopback MCR drives the inputs:
    // RTS→CTS, DTR→DSR, OUT1→RI, OUT2→DCD.
    const auto control = state_->modem_control;
    const auto inputs =
        (control & mcr_loop) == 0
            ? 0xb0U
            : ((control & 0x02U) << 3) | ((control & 0x01U) << 5) | ((control & 0x0cU) << 4);
    return static_cast<std::uint8_t>(inputs | state_->modem_delta);
}

void Uart::write_fifo_control(std::uint8_t value) {
    const auto toggled = ((state_->fifo_control ^ value) & fcr_enable) != 0;
    const auto enabled = (value & fcr_enable) != 0;
    auto room = false;
    if (toggled || (enabled && (value & fcr_clear_receive) != 0)) {
        room = state_->refused_input != 0 && (state_->modem_control & mcr_loop) == 0;
        state_.edit().receive_head = 0;
        state_.edit().receive_count = 0;
    }
    state_.edit().fifo_control = enabled ? value & 0xc1 : 0;
    drive();
    if (room) {
        state_.edit().refused_input = 0;
        sink_.input_room();
    }
}

void Uart::write_modem_control(std::uint8_t value) {
    const auto before = modem_status() >> 4;
    const auto left_loop = (state_->modem_control & ~value & mcr_loop) != 0;
    state_.edit().modem_control = value & 0x1f;
    const auto after = modem_status() >> 4;
    const auto changed = before ^ after;
    // RI counts only when it ends.
    const auto delta = (changed & 0x0b) | (changed & before & 0x04);
    state_.edit().modem_delta |= static_cast<std::uint8_t>(delta);
    drive();
    if (left_loop && state_->refused_input != 0 && state_->receive_count < capacity()) {
        state_.edit().refused_input = 0;
        sink_.input_room();
    }
}

[[gnu::noinline]] void Uart::drive() {
    const auto gated = (state_->modem_control & (mcr_out2 | mcr_loop)) == mcr_out2;
    const std::uint8_t line = gated && identification() != iir_none ? 1 : 0;
    if (line != state_->line) {
        state_.edit().line = line;
        lines_.set_irq_line(irq_, line != 0);
    }
}

}  // namespace margay::vmm

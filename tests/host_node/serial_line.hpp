// A 16550 as the node's drivers see it: what is sent is kept, what is typed can be read and interrupts.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace margay::host_node {

class SerialLine {
  public:
    std::string sent;
    std::function<void()> interrupt;
    std::uint64_t taken = 0;  // bytes that were typed and read
    bool is_stuck = false;    // nobody takes what is sent: the transmitter does not get empty

    void type(std::string_view text) {
        input_.insert(input_.end(), text.begin(), text.end());
        tell();
    }
    std::uint8_t read(unsigned reg) {
        constexpr std::uint8_t transmitter_empty = 0x60, data_ready = 1;
        constexpr std::uint8_t cause_none = 1, cause_transmit = 2, cause_receive = 4;
        switch (reg) {
        case 0: {
            if (input_.empty()) return 0;
            const auto byte = static_cast<std::uint8_t>(input_.front());
            input_.pop_front();
            ++taken;
            return byte;
        }
        case 2:
            if ((enabled_ & 1) != 0 && !input_.empty()) return cause_receive;
            if ((enabled_ & 2) == 0 || !is_empty_) return cause_none;
            is_empty_ = false;
            return cause_transmit;
        case 5: return (is_stuck ? 0 : transmitter_empty) | (input_.empty() ? 0 : data_ready);
        case 7: return scratch_;
        default: return 0;
        }
    }
    void write(unsigned reg, std::uint8_t value) {
        constexpr std::uint8_t divisor_latch = 0x80;
        switch (reg) {
        case 0:
            if ((line_control_ & divisor_latch) != 0) break;
            sent += static_cast<char>(value);
            is_empty_ = !is_stuck;
            tell();
            break;
        case 1:
            if ((line_control_ & divisor_latch) != 0) break;
            if ((value & ~enabled_ & 2) != 0) is_empty_ = !is_stuck;
            enabled_ = value;
            tell();
            break;
        case 3: line_control_ = value; break;
        case 7: scratch_ = value; break;
        default: break;
        }
    }
    void get_going() {
        is_stuck = false;
        is_empty_ = true;
        tell();
    }

  private:
    void tell() {
        const bool due =
            ((enabled_ & 1) != 0 && !input_.empty()) || ((enabled_ & 2) != 0 && is_empty_);
        if (due && interrupt) interrupt();
    }
    std::deque<char> input_;
    std::uint8_t enabled_ = 0, line_control_ = 0, scratch_ = 0;
    bool is_empty_ = false;  // and that has not been told yet
};

}  // namespace margay::host_node

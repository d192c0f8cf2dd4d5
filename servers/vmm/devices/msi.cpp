#include "servers/vmm/devices/msi.hpp"

#include "servers/vmm/devices/register_byte.hpp"

#include <algorithm>
#include <bit>

namespace margay::vmm {

namespace {

constexpr std::uint16_t real_wide = 1 << 7, real_masks = 1 << 8;
constexpr unsigned capable_shift = 1, enable_shift = 4;
constexpr unsigned control_at = 2, address_at = 4;
/// Of a capability with addresses of 64 bits all behind them is four bytes further back.
constexpr unsigned data_at = 8, masked_at = 12, pending_at = 16;

}  // namespace

Msi::Msi(std::uint16_t real_control, unsigned messages, unsigned number,
         Journaled<PciFunctionsState> state) noexcept
    : is_wide_{(real_control & real_wide) != 0},
      masks_{(real_control & real_masks) != 0},
      exists_{messages != 0},
      number_{number},
      state_{state} {
    const unsigned given = std::clamp(messages, 1U, max_msi_messages);
    log_capable_ = static_cast<std::uint8_t>(std::bit_width(given) - 1);
    given_ = static_cast<std::uint16_t>((1U << (1U << log_capable_)) - 1);
}

unsigned Msi::bytes(std::uint16_t real_control) noexcept {
    return ((real_control & real_wide) != 0 ? 14U : 10U) +
           ((real_control & real_masks) != 0 ? 10U : 0U);
}

std::uint16_t Msi::control() const noexcept {
    return static_cast<std::uint16_t>(now().is_on | log_capable_ << capable_shift |
                                      now().log_messages << enable_shift |
                                      (is_wide_ ? real_wide : 0) | (masks_ ? real_masks : 0));
}

std::uint8_t Msi::read(unsigned offset) const noexcept {
    if (offset < address_at) return byte_of(control(), offset - control_at);
    if (offset < address_at + (is_wide_ ? 8U : 4U))
        return byte_of(now().address, offset - address_at);
    if (is_wide_) offset -= 4;
    if (offset < data_at + 2) return byte_of(now().data, offset - data_at);
    if (!masks_ || offset < masked_at) return 0;
    return offset < pending_at ? byte_of(std::uint32_t{now().masked}, offset - masked_at)
                               : byte_of(std::uint32_t{now().pending}, offset - pending_at);
}

// More messages than the function can send: as many as it can.
void Msi::write(unsigned offset, std::uint8_t value) noexcept {
    if (offset == control_at) {
        if (!exists_) return;
        MsiState& s = edit();
        s.is_on = value & 1;
        s.log_messages = std::min<std::uint8_t>(value >> enable_shift & 7, log_capable_);
        return;
    }
    if (offset < address_at) return;
    if (offset < address_at + (is_wide_ ? 8U : 4U))
        return put(edit().address, offset - address_at, value, ~std::uint64_t{3});
    if (is_wide_) offset -= 4;
    if (offset < data_at + 2)
        return put(edit().data, offset - data_at, value, std::uint16_t{0xffff});
    if (masks_ && offset >= masked_at && offset < masked_at + 2)
        put(edit().masked, offset - masked_at, value, given_);
}

InterruptMessage Msi::message(unsigned number) const noexcept {
    const std::uint32_t low = (1U << now().log_messages) - 1;
    return {now().address, (now().data & ~low) | number};
}

std::optional<InterruptMessage> Msi::sent(unsigned number) const noexcept {
    if (!is_on() || number >> now().log_messages != 0) return {};
    return message(number);
}

std::optional<InterruptMessage> Msi::arrive(unsigned number) noexcept {
    if (!is_on() || number >> now().log_messages != 0) return {};
    const auto bit = static_cast<std::uint16_t>(1U << number);
    if (!masks_ || (now().masked & bit) == 0) return message(number);
    if ((now().pending & bit) == 0) edit().pending |= bit;
    return {};
}

std::optional<InterruptMessage> Msi::take_pending(unsigned number) noexcept {
    const auto bit = static_cast<std::uint16_t>(number < max_msi_messages ? 1U << number : 0);
    if ((now().pending & bit) == 0 || (now().masked & bit) != 0 || !is_on() ||
        number >> now().log_messages != 0)
        return {};
    edit().pending &= static_cast<std::uint16_t>(~bit);
    return message(number);
}

}  // namespace margay::vmm

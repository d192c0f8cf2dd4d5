#include "servers/vmm/devices/msix_table.hpp"

namespace margay::vmm {

namespace {

template <typename T>
void put(T& value, unsigned lane, std::uint8_t byte) noexcept {
    const auto mask = static_cast<T>(T{0xff} << (8 * lane));
    value = static_cast<T>((value & static_cast<T>(~mask)) | static_cast<T>(T{byte} << (8 * lane)));
}

}  // namespace

void MsixTable::reset(MsixTableState& state) noexcept {
    state = {};
    for (MsixEntry& e : state.entry) e.control = 1;
}

void MsixTable::reset() noexcept {
    if (entries_ == 0) return;
    MsixTableState& state = state_.edit();
    for (unsigned i = 0; i < entries_; ++i) {
        state.entry[first_ + i] = {0, 0, 1};
        state.pending &= ~bit(i);
    }
}

std::uint8_t MsixTable::byte(std::uint64_t offset) const noexcept {
    if (offset / entry_bytes >= entries_) return 0;
    const MsixEntry& e = state_->entry[first_ + offset / entry_bytes];
    const auto at = static_cast<unsigned>(offset % entry_bytes);
    if (at < data_at) return static_cast<std::uint8_t>(e.address >> (8 * at));
    if (at < control_at) return static_cast<std::uint8_t>(e.data >> (8 * (at - data_at)));
    return static_cast<std::uint8_t>(e.control >> (8 * (at - control_at)));
}

std::uint64_t MsixTable::read(std::uint64_t offset, unsigned width) const noexcept {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= std::uint64_t{byte(offset + i)} << (8 * i);
    return value;
}

std::optional<unsigned> MsixTable::write(std::uint64_t offset, unsigned width,
                                         std::uint64_t value) noexcept {
    if (offset / entry_bytes >= entries_) return {};
    const auto number = static_cast<unsigned>(offset / entry_bytes);
    MsixEntry& e = state_.edit().entry[first_ + number];
    for (unsigned i = 0; i < width; ++i) {
        const auto at = static_cast<unsigned>((offset + i) % entry_bytes);
        const auto b = static_cast<std::uint8_t>(value >> (8 * i));
        if (at < data_at)
            put(e.address, at, b);
        else if (at < control_at)
            put(e.data, at - data_at, b);
        else if (at == control_at)
            e.control = b & 1;  // the other bits are reserved
    }
    e.address &= ~std::uint64_t{3};
    return number;
}

std::uint64_t MsixTable::read_pending(std::uint64_t offset, unsigned width) const noexcept {
    const std::uint64_t own =
        entries_ == 0 ? 0 : state_->pending >> first_ & ((std::uint64_t{1} << entries_) - 1);
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width && offset + i < sizeof(own); ++i)
        value |= (own >> (8 * (offset + i)) & 0xff) << (8 * i);
    return value;
}

std::optional<InterruptMessage> MsixTable::sent(unsigned number) const noexcept {
    if (number >= entries_ || is_masked(number)) return {};
    const MsixEntry& e = state_->entry[first_ + number];
    return InterruptMessage{e.address, e.data};
}

std::optional<InterruptMessage> MsixTable::arrive(unsigned number, bool all_masked) noexcept {
    if (number >= entries_) return {};
    const MsixEntry& e = state_->entry[first_ + number];
    if (!all_masked && !is_masked(number)) return InterruptMessage{e.address, e.data};
    if ((state_->pending & bit(number)) == 0) state_.edit().pending |= bit(number);
    return {};
}

std::optional<InterruptMessage> MsixTable::take_pending(unsigned number, bool all_masked) noexcept {
    if (number >= entries_ || all_masked || is_masked(number)) return {};
    if ((state_->pending & bit(number)) == 0) return {};
    state_.edit().pending &= ~bit(number);
    const MsixEntry& e = state_->entry[first_ + number];
    return InterruptMessage{e.address, e.data};
}

}  // namespace margay::vmm

#include "servers/vmm/devices/msix_table.hpp"

namespace margay::vmm {

namespace {

constexpr unsigned data_at = 8, control_at = 12;

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

std::uint8_t MsixTable::byte(std::uint64_t offset) const noexcept {
    if (offset / entry_bytes >= entries_) return 0;
    const MsixEntry& e = state_->entry[offset / entry_bytes];
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
    MsixEntry& e = state_.edit().entry[number];
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
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
        const std::uint64_t at = offset + i;
        if (at >= sizeof(MsixTableState::pending)) break;
        value |= (state_->pending[at / 8] >> (8 * (at % 8)) & 0xff) << (8 * i);
    }
    return value;
}

std::optional<MsixTable::Message> MsixTable::arrive(unsigned number, bool all_masked) noexcept {
    if (number >= entries_) return {};
    const MsixEntry& e = state_->entry[number];
    if (!all_masked && !is_masked(number)) return Message{e.address, e.data};
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    if ((state_->pending[number / 64] & bit) == 0) state_.edit().pending[number / 64] |= bit;
    return {};
}

std::optional<MsixTable::Message> MsixTable::take_pending(unsigned number,
                                                          bool all_masked) noexcept {
    if (number >= entries_ || all_masked || is_masked(number)) return {};
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    if ((state_->pending[number / 64] & bit) == 0) return {};
    state_.edit().pending[number / 64] &= ~bit;
    return Message{state_->entry[number].address, state_->entry[number].data};
}

}  // namespace margay::vmm

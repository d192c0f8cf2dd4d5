#include "servers/vmm/acpi/dsdt_options.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace margay::vmm {

namespace {

constexpr std::size_t checksum_at = 9;
/// AML of Name (ACPI 6.4 §20.2.5.1) and of constants (§20.2.3).
constexpr char name_op = 0x08;
constexpr std::uint8_t zero_op = 0x00, one_op = 0x01;
/// QWord address space descriptor (§6.4.3.5.1): tag and length, then flags; the range in dsdt.asl.
constexpr std::array<std::uint8_t, 4> qword_memory{0x8a, 0x2b, 0x00, 0x00};
constexpr std::size_t minimum = 14, maximum = 22, length = 38, descriptor_bytes = 46;
constexpr std::uint64_t placeholder = 0x4d41'5247'4159'0000;

/// Of the only place with those bytes; dsdt.size(): there is none, or several.
std::size_t find(std::span<const std::byte> dsdt, std::span<const std::uint8_t> bytes) noexcept {
    const auto same = [](std::byte a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; };
    const auto at = std::search(dsdt.begin(), dsdt.end(), bytes.begin(), bytes.end(), same);
    if (at == dsdt.end()) return dsdt.size();
    const auto again = std::search(at + 1, dsdt.end(), bytes.begin(), bytes.end(), same);
    return again == dsdt.end() ? static_cast<std::size_t>(at - dsdt.begin()) : dsdt.size();
}

bool set_flag(std::span<std::byte> dsdt, std::string_view name) noexcept {
    std::array<std::uint8_t, 6> bytes{name_op};
    std::copy(name.begin(), name.end(), bytes.begin() + 1);
    bytes[5] = zero_op;
    const std::size_t at = find(dsdt, bytes);
    if (at == dsdt.size()) return false;
    dsdt[at + 5] = std::byte{one_op};
    return true;
}

/// XPRT is none of the names that a guest looks for.
bool name_lines(std::span<std::byte> dsdt) noexcept {
    constexpr std::array<std::uint8_t, 5> bytes{name_op, 'X', 'P', 'R', 'T'};
    const std::size_t at = find(dsdt, bytes);
    if (at == dsdt.size()) return false;
    dsdt[at + 1] = std::byte{'_'};
    return true;
}

bool set_window(std::span<std::byte> dsdt, std::uint64_t base, std::uint64_t bytes) noexcept {
    const std::size_t at = find(dsdt, qword_memory);
    if (dsdt.size() - at < descriptor_bytes) return false;
    const auto field = [&](std::size_t offset) { return dsdt.data() + at + offset; };
    std::uint64_t there = 0;
    std::memcpy(&there, field(minimum), sizeof(there));
    if (there != placeholder) return false;
    const std::uint64_t last = base + (bytes - 1);
    std::memcpy(field(minimum), &base, sizeof(base));
    std::memcpy(field(maximum), &last, sizeof(last));
    std::memcpy(field(length), &bytes, sizeof(bytes));
    return true;
}

void update_checksum(std::span<std::byte> dsdt) noexcept {
    std::uint8_t sum = 0;
    for (const std::byte b : dsdt)
        sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(b));
    dsdt[checksum_at] = static_cast<std::byte>(
        static_cast<std::uint8_t>(static_cast<std::uint8_t>(dsdt[checksum_at]) - sum));
}

}  // namespace

bool apply(std::span<std::byte> dsdt, const DsdtOptions& options) noexcept {
    bool is_done = true;
    if (options.window_bytes != 0)
        is_done = set_flag(dsdt, "WIDE") && set_window(dsdt, options.window, options.window_bytes);
    if (options.lines) is_done = name_lines(dsdt) && is_done;
    if (dsdt.size() > checksum_at) update_checksum(dsdt);
    return is_done;
}

}  // namespace margay::vmm

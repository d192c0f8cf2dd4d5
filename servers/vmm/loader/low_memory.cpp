#include "servers/vmm/loader/low_memory.hpp"

#include "proto/kernel.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/memory_map.hpp"

#include <algorithm>
#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::uint64_t present_writable = 0x03;
constexpr std::uint64_t used_large_page = 0xe3;  // present, writable, accessed, dirty, large

constexpr std::uint16_t code_selector = 0x10;
constexpr std::uint16_t data_selector = 0x18;
constexpr std::uint16_t task_selector = 0x20;
constexpr std::uint64_t long_gdt[] = {
    0, 0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff, 0x0000'8b00'0000'0067, 0,
};
constexpr std::uint64_t protected_gdt[] = {
    0, 0, 0x00cf'9b00'0000'ffff, 0x00cf'9300'0000'ffff, 0x0000'8b00'0000'0067, 0,
};
static_assert(sizeof(long_gdt) == sizeof(protected_gdt));

void write_page_tables(std::span<std::byte> ram) {
    using low_memory::page_tables;
    std::memset(ram.data() + page_tables, 0, 6 * page_size);
    const auto level3 = page_tables + page_size;
    const auto level2 = level3 + page_size;
    store_at<std::uint64_t>(ram, page_tables, level3 | present_writable);
    for (std::uint64_t i = 0; i < 4; ++i) {
        store_at<std::uint64_t>(ram, level3 + 8 * i, (level2 + i * page_size) | present_writable);
    }
    for (std::uint64_t i = 0; i < 4 * 512; ++i) {
        store_at<std::uint64_t>(ram, level2 + 8 * i, i << 21 | used_large_page);
    }
}

StartState start_with(std::span<std::byte> ram, const std::uint64_t (&gdt)[6]) {
    std::memcpy(ram.data() + low_memory::gdt, gdt, sizeof(gdt));
    StartState start{};
    start.gdt_base = low_memory::gdt;
    start.gdt_limit = sizeof(gdt) - 1;
    start.code_selector = code_selector;
    start.data_selector = data_selector;
    start.task_selector = task_selector;
    return start;
}

}  // namespace

void move_in(std::span<std::byte> to, std::span<const std::byte> from,
             std::atomic<std::uint64_t>* placed) noexcept {
    constexpr std::size_t piece = 1 << 20;
    for (std::size_t at = 0; at < from.size(); at += piece) {
        const std::size_t size = std::min(piece, from.size() - at);
        std::memcpy(to.data() + at, from.data() + at, size);
        if (placed != nullptr) {
            placed->fetch_add(size, std::memory_order_relaxed);
        }
    }
}

void write_text(std::span<std::byte> ram, std::uint64_t at, std::string_view text) noexcept {
    if (!text.empty()) {
        std::memcpy(ram.data() + at, text.data(), text.size());
    }
    ram[at + text.size()] = std::byte{0};
}

void write_bios_data(std::span<std::byte> ram) noexcept {
    constexpr std::uint64_t com1_port = 0x400, extended_area_segment = 0x40e, kibibytes = 0x413;
    store_at<std::uint16_t>(ram, com1_port, 0x3f8);
    store_at<std::uint16_t>(ram, extended_area_segment, MemoryMap::low_memory_end >> 4);
    store_at<std::uint16_t>(ram, kibibytes, MemoryMap::low_memory_end / 1024);
}

StartState start_protected(std::span<std::byte> ram) noexcept {
    auto start = start_with(ram, protected_gdt);
    start.cr0 = 0x11;  // ET, PE
    return start;
}

StartState start_long(std::span<std::byte> ram) noexcept {
    write_page_tables(ram);
    auto start = start_with(ram, long_gdt);
    start.cr0 = 0x8001'0031;  // PG, WP, NE, ET, PE
    start.cr3 = low_memory::page_tables;
    start.cr4 = 0x20;    // PAE
    start.efer = 0x500;  // LMA, LME
    return start;
}

}  // namespace margay::vmm

#include "ukernel/report/backtrace.hpp"

#include "proto/symbols.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/memory/kernel_tables.hpp"
#include "ukernel/object/domain.hpp"

namespace margay {

namespace {

constexpr unsigned max_frames = 24;

std::uint8_t read_byte(ReadWord read, const Domain* d, std::uint64_t address, bool& ok) {
    std::uint64_t word = 0;
    ok = read(d, address & ~7ull, word);
    return static_cast<std::uint8_t>(word >> (address & 7) * 8);
}

void print_symbol(ReadWord read, const Domain* d, std::uint64_t table, std::uint64_t rip) {
    std::uint64_t head = 0, base = 0;
    if (table == 0 || !read(d, table, head) || !read(d, table + 8, base)) return;
    if (static_cast<std::uint32_t>(head) != symbols_magic || rip < base) return;
    // The last entry whose offset is not above.
    std::uint64_t low = 0, high = head >> 32, entry = 0;
    while (low < high) {
        const std::uint64_t middle = (low + high) / 2;
        if (!read(d, table + 16 + middle * 8, entry)) return;
        if (base + static_cast<std::uint32_t>(entry) <= rip)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || !read(d, table + 16 + (low - 1) * 8, entry)) return;
    const std::uint64_t name = table + (entry >> 32);
    console::put(' ');
    for (unsigned i = 0; i < 100; ++i) {
        bool ok = false;
        const std::uint8_t c = read_byte(read, d, name + i, ok);
        if (!ok || c < 32 || c > 126) break;
        console::put(static_cast<char>(c));
    }
    print([](char c) { console::put(c); }, "+{x}", rip - base - static_cast<std::uint32_t>(entry));
}

}  // namespace

bool read_kernel_word(const Domain*, std::uint64_t address, std::uint64_t& value) {
    if ((address & 7) != 0 || !kernel_tables::is_mapped(address)) return false;
    value = *reinterpret_cast<const std::uint64_t*>(address);
    return true;
}

bool read_user_word(const Domain* d, std::uint64_t address, std::uint64_t& value) {
    if (d == nullptr || (address & 7) != 0 || address < user_begin || address >= user_end)
        return false;
    // Read-only walk of tables that belong to another object: no state is changed.
    const auto leaf = const_cast<Domain*>(d)->tables().lookup(address);
    if (!leaf || !kernel_tables::is_ram(leaf->physical)) return false;
    value = *direct<std::uint64_t>(leaf->physical);
    return true;
}

void print_backtrace(ReadWord read, const Domain* d, std::uint64_t symbols, std::uint64_t rip,
                     std::uint64_t rbp) {
    for (unsigned frame = 0; frame < max_frames; ++frame) {
        print([](char c) { console::put(c); }, "  #{} {X}", frame, rip);
        // A return address lies behind its call: look up the call itself.
        print_symbol(read, d, symbols, frame == 0 ? rip : rip - 1);
        console::put('\n');
        std::uint64_t next = 0;
        if (rbp == 0 || !read(d, rbp + 8, rip) || !read(d, rbp, next) || rip == 0) return;
        if (next != 0 && next <= rbp) return;  // frames go up; anything else is a smashed stack
        rbp = next;
    }
}

}  // namespace margay

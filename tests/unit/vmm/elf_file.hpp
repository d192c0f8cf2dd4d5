#pragma once

#include "servers/vmm/loader/little_endian.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace margay::vmm::test {

/// An ELF file, of 32 or 64 bits, with a PVH note and one loaded segment: 0x400 bytes at file offset 0x1000 for 2 MiB,
/// 0x3000 in memory, virtual addresses 3 GiB higher. What goes wrong with it is up to the test.
class ElfFile {
  public:
    static constexpr std::uint64_t address = 0x20'0000, virtual_address = 0xc020'0000;
    static constexpr std::size_t content = 0x1000, size_in_file = 0x400, size = 0x3000,
                                 note = 0x800;

    explicit ElfFile(bool wide) : wide_{wide} {
        for (std::size_t i = 0; i < size_in_file; ++i) {
            bytes[content + i] = static_cast<std::byte>(i % 251 + 1);
        }
        std::memcpy(bytes.data(),
                    "\x7f"
                    "ELF",
                    4);
        put8(4, wide ? 2 : 1);
        put8(5, 1);
        put16(16, 2);
        put16(18, wide ? 62 : 3);
        put_word(24, virtual_address + 0x10);
        put_word(wide ? 32 : 28, table());
        put16(wide ? 54 : 42, static_cast<std::uint16_t>(entry_size()));
        put16(wide ? 56 : 44, 2);
        segment(0, 1, content, virtual_address, address, size_in_file, size, 0x1000);
        segment(1, 4, note, 0, 0, 40, 40, 4);
        // Another note first.
        const std::uint32_t notes[] = {4, 0, 1, 0x554e47, 4, 4, 18, 0x6e6558, address + 0x20, 0};
        std::memcpy(bytes.data() + note, notes, sizeof(notes));
    }

    [[nodiscard]] std::size_t table() const { return wide_ ? 64 : 52; }
    [[nodiscard]] std::size_t entry_size() const { return wide_ ? 56 : 32; }
    void segment(unsigned i, std::uint32_t type, std::uint64_t offset, std::uint64_t at_virtual,
                 std::uint64_t at, std::uint64_t in_file, std::uint64_t in_memory,
                 std::uint64_t alignment) {
        const auto entry = table() + i * entry_size();
        store_at<std::uint32_t>(bytes, entry, type);
        const std::uint64_t words[] = {offset, at_virtual, at, in_file, in_memory};
        for (unsigned k = 0; k < 5; ++k) {
            put_word(entry + (wide_ ? 8 + 8 * k : 4 + 4 * k), words[k]);
        }
        put_word(entry + (wide_ ? 48 : 28), alignment);
    }
    void put8(std::size_t offset, std::uint8_t v) { store_at<std::uint8_t>(bytes, offset, v); }
    void put16(std::size_t offset, std::uint16_t v) { store_at<std::uint16_t>(bytes, offset, v); }
    void put32(std::size_t offset, std::uint32_t v) { store_at<std::uint32_t>(bytes, offset, v); }
    void put_word(std::size_t offset, std::uint64_t v) {
        if (wide_) {
            store_at<std::uint64_t>(bytes, offset, v);
        } else {
            put32(offset, static_cast<std::uint32_t>(v));
        }
    }

    std::vector<std::byte> bytes = std::vector<std::byte>(content + size_in_file);

  private:
    bool wide_;
};

}  // namespace margay::vmm::test

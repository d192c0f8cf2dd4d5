#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace margay::vmm {

/// Fills one ACPI table in place, field by field; every write is inside the table. For tables.cpp only.
class TableWriter {
  public:
    explicit TableWriter(std::span<std::byte> table) noexcept : table_{table} {
        std::memset(table_.data(), 0, table_.size());
    }

    template <typename T>
    void put(std::size_t offset, std::type_identity_t<T> value) noexcept {
        if (offset <= table_.size() && sizeof(T) <= table_.size() - offset) {
            std::memcpy(table_.data() + offset, &value, sizeof(T));
        }
    }

    void text(std::size_t offset, std::string_view value) noexcept {
        if (offset <= table_.size() && value.size() <= table_.size() - offset) {
            std::memcpy(table_.data() + offset, value.data(), value.size());
        }
    }

    /// Generic address structure (ACPI 6.4 §5.2.3.2) of an I/O port; `access` 1 byte, 2 word, 3 dword.
    void port(std::size_t offset, std::uint16_t address, std::uint8_t bit_width,
              std::uint8_t access) noexcept {
        put<std::uint8_t>(offset, 1);
        put<std::uint8_t>(offset + 1, bit_width);
        put<std::uint8_t>(offset + 3, access);
        put<std::uint64_t>(offset + 4, address);
    }

    /// The header all tables but RSDP and FACS have (§5.2.6), without its checksum.
    void header(std::string_view signature, std::uint8_t revision) noexcept {
        text(0, signature);
        put<std::uint32_t>(4, static_cast<std::uint32_t>(table_.size()));
        put<std::uint8_t>(8, revision);
        text(10, "MARGAY");
        text(16, "GUEST   ");
        put<std::uint32_t>(24, 1);
        text(28, "MRGY");
        put<std::uint32_t>(32, 1);
    }

    /// Make the first `length` bytes add up to 0 by the byte at `offset`.
    void checksum(std::size_t offset, std::size_t length) noexcept {
        std::uint8_t sum = 0;
        for (const auto byte : table_.first(length)) {
            sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
        }
        const auto old = static_cast<std::uint8_t>(table_[offset]);
        put<std::uint8_t>(offset, static_cast<std::uint8_t>(old - sum));
    }

  private:
    std::span<std::byte> table_;
};

}  // namespace margay::vmm

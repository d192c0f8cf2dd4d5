// The symbol table that each image carries in its section .margay_symbols (made by tools/symbols.py).
#pragma once
#include <cstdint>

namespace margay {

constexpr std::uint32_t symbols_magic = 0x4d59534d;  // "MSYM"
// Of the table in its segment, which begins at a page: whoever looks for it does not look everywhere.
constexpr std::uint64_t symbols_alignment = 256;

struct SymbolEntry {
    std::uint32_t offset;  // of the function, from SymbolTable::base
    std::uint32_t name;    // of its NUL-terminated name, from the table's start
};

struct SymbolTable {
    std::uint32_t magic;
    std::uint32_t count;
    std::uint64_t base;
    // SymbolEntry[count] follow, sorted by offset, then the names
};
static_assert(sizeof(SymbolTable) == 16 && sizeof(SymbolEntry) == 8);

}  // namespace margay

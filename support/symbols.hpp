// Looking up a function in an image's symbol table (proto/symbols.hpp).
#pragma once
#include <string_view>

#include "proto/symbols.hpp"

namespace margay {

struct FunctionAt {
    std::string_view name;  // empty: unknown
    std::uint64_t offset = 0;
};

// `bytes`: what may be read from the table's beginning on. A damaged table yields no name.
inline FunctionAt find_function(const SymbolTable& table, std::uint64_t bytes,
                                std::uint64_t address) {
    const auto* entries = reinterpret_cast<const SymbolEntry*>(&table + 1);
    if (bytes < sizeof(table) || table.magic != symbols_magic || address < table.base ||
        table.count > (bytes - sizeof(table)) / sizeof(SymbolEntry))
        return {};
    // The last entry whose offset is not above.
    const std::uint64_t offset = address - table.base;
    std::uint32_t low = 0, high = table.count;
    while (low < high) {
        const std::uint32_t middle = low + (high - low) / 2;
        if (entries[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || entries[low - 1].name >= bytes) return {};
    const auto* name = reinterpret_cast<const char*>(&table) + entries[low - 1].name;
    std::uint64_t length = 0;
    while (entries[low - 1].name + length < bytes && length < 100 && name[length] >= 32 &&
           name[length] < 127)
        ++length;
    return {{name, length}, offset - entries[low - 1].offset};
}

}  // namespace margay

#include "support/symbols.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace margay {
namespace {

// Functions at 0x1000 "first" and 0x1040 "second".
std::vector<std::uint64_t> make_table() {
    std::vector<std::uint64_t> words(8);
    auto* bytes = reinterpret_cast<std::uint8_t*>(words.data());
    const SymbolTable t{symbols_magic, 2, 0x1000};
    const SymbolEntry entries[] = {{0, 32}, {0x40, 38}};
    std::memcpy(bytes, &t, sizeof(t));
    std::memcpy(bytes + sizeof(t), entries, sizeof(entries));
    std::memcpy(bytes + 32, "first\0second", 13);
    return words;
}

FunctionAt find(const std::vector<std::uint64_t>& words, std::uint64_t address,
                std::uint64_t bytes = 64) {
    return find_function(*reinterpret_cast<const SymbolTable*>(words.data()), bytes, address);
}

TEST(Symbols, FindsTheFunctionBelow) {
    const auto table = make_table();
    EXPECT_EQ(find(table, 0x1000).name, "first");
    EXPECT_EQ(find(table, 0x103f).name, "first");
    EXPECT_EQ(find(table, 0x103f).offset, 0x3fu);
    EXPECT_EQ(find(table, 0x1040).name, "second");
    EXPECT_EQ(find(table, 0x5000).offset, 0x4000u - 0x40);
    EXPECT_EQ(find(table, 0xfff).name, "");
}

TEST(Symbols, ADamagedTableNamesNothing) {
    auto table = make_table();
    EXPECT_EQ(find(table, 0x1000, 8).name, "");
    auto* t = reinterpret_cast<SymbolTable*>(table.data());
    t->count = 1000;
    EXPECT_EQ(find(table, 0x1000).name, "");
    t->count = 2;
    reinterpret_cast<SymbolEntry*>(t + 1)[1].name = 64;
    EXPECT_EQ(find(table, 0x1040).name, "");
    EXPECT_EQ(find(table, 0x1000).name, "first");
    t->magic = 0;
    EXPECT_EQ(find(table, 0x1000).name, "");
}

}  // namespace
}  // namespace margay

#include "servers/vmm/acpi/tables.hpp"
#include "servers/vmm/loader/little_endian.hpp"

#include "servers/vmm/state/exit_numbers.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include <string_view>
#include <vector>

namespace margay::vmm {
namespace {

class AcpiTablesTest : public ::testing::Test {
  protected:
    AcpiTablesTest() {
        std::memcpy(dsdt.data(), "DSDT", 4);
        store_at<std::uint32_t>(dsdt, 4, 100);
        dsdt[9] = std::byte{0};
        dsdt[9] = std::byte{static_cast<unsigned char>(-sum(dsdt, 0, 100))};
        rsdp = write_acpi_tables(ram, {dsdt, 5});
    }

    static unsigned char sum(std::span<const std::byte> bytes, std::size_t at, std::size_t length) {
        unsigned total = 0;
        for (const auto byte : bytes.subspan(at, length)) {
            total += static_cast<unsigned>(byte);
        }
        return static_cast<unsigned char>(total);
    }
    std::string_view signature(std::size_t at) {
        return {reinterpret_cast<const char*>(ram.data() + at), 4};
    }
    std::uint32_t length(std::size_t at) { return get<std::uint32_t>(at + 4); }
    template <typename T>
    T get(std::size_t at) {
        return load_at<T>(ram, at);
    }

    /// The table with that signature in the XSDT, after checking it.
    std::size_t find(std::string_view wanted) {
        const auto xsdt = get<std::uint64_t>(rsdp + 24);
        for (auto entry = xsdt + 36; entry < xsdt + length(xsdt); entry += 8) {
            const auto table = get<std::uint64_t>(entry);
            if (signature(table) == wanted) {
                EXPECT_EQ(sum(ram, table, length(table)), 0) << wanted;
                EXPECT_LE(table + length(table), acpi_limit);
                return table;
            }
        }
        ADD_FAILURE() << wanted << " is missing";
        return 0;
    }

    std::vector<std::byte> ram = std::vector<std::byte>(0x10'0000);
    std::vector<std::byte> dsdt = std::vector<std::byte>(100);
    std::uint64_t rsdp = 0;
};

TEST_F(AcpiTablesTest, root_pointer) {
    ASSERT_EQ(rsdp, acpi_base);
    EXPECT_EQ(rsdp % 16, 0U);  // found by scanning, too
    EXPECT_EQ(std::memcmp(ram.data() + rsdp, "RSD PTR ", 8), 0);
    EXPECT_EQ(get<std::uint8_t>(rsdp + 15), 2);
    EXPECT_EQ(sum(ram, rsdp, 20), 0);
    EXPECT_EQ(sum(ram, rsdp, 36), 0);
}

TEST_F(AcpiTablesTest, extended_table) {
    const auto xsdt = get<std::uint64_t>(rsdp + 24);
    EXPECT_EQ(signature(xsdt), "XSDT");
    EXPECT_EQ(sum(ram, xsdt, length(xsdt)), 0);
    EXPECT_EQ(length(xsdt), 36U + 16);
}

TEST_F(AcpiTablesTest, fixed_description) {
    const auto fadt = find("FACP");
    EXPECT_EQ(length(fadt), 276U);
    const auto facs = get<std::uint32_t>(fadt + 36);
    EXPECT_EQ(signature(facs), "FACS");
    EXPECT_EQ(facs % 64, 0U);
    EXPECT_EQ(length(facs), 64U);
    const auto copied = get<std::uint32_t>(fadt + 40);
    EXPECT_EQ(get<std::uint64_t>(fadt + 140), copied);
    EXPECT_EQ(std::memcmp(ram.data() + copied, dsdt.data(), dsdt.size()), 0);
    EXPECT_EQ(get<std::uint32_t>(fadt + 48), 0U);       // no SMI command
    EXPECT_EQ(get<std::uint16_t>(fadt + 109) & 2, 0U);  // no 8042
    EXPECT_EQ(get<std::uint16_t>(fadt + 46), 9U);
    EXPECT_EQ(get<std::uint32_t>(fadt + 56), get<std::uint64_t>(fadt + 152));
    EXPECT_EQ(get<std::uint32_t>(fadt + 64), get<std::uint64_t>(fadt + 176));
    EXPECT_EQ(get<std::uint32_t>(fadt + 76), get<std::uint64_t>(fadt + 212));
    EXPECT_EQ(get<std::uint64_t>(fadt + 120), 0xcf9U);
    EXPECT_EQ(get<std::uint8_t>(fadt + 128), 6U);
    EXPECT_NE(get<std::uint32_t>(fadt + 112) & 1U << 10, 0U);
}

TEST_F(AcpiTablesTest, interrupt_controllers) {
    const auto madt = find("APIC");
    EXPECT_EQ(get<std::uint32_t>(madt + 36), 0xfee0'0000U);
    unsigned seen[5] = {};
    auto at = madt + 44;
    while (at < madt + length(madt)) {
        const auto type = get<std::uint8_t>(at);
        ASSERT_LT(type, 5);
        ++seen[type];
        switch (type) {
        case 0:
            EXPECT_EQ(get<std::uint8_t>(at + 3), 5);
            EXPECT_EQ(get<std::uint32_t>(at + 4), 1U);
            break;
        case 1: EXPECT_EQ(get<std::uint32_t>(at + 4), 0xfec0'0000U); break;
        case 2:
            EXPECT_EQ(get<std::uint32_t>(at + 4), get<std::uint8_t>(at + 3) == 0 ? 2U : 9U);
            break;
        default:
            EXPECT_EQ(get<std::uint8_t>(at + 5), 1);  // LINT1
            break;
        }
        ASSERT_NE(get<std::uint8_t>(at + 1), 0);
        at += get<std::uint8_t>(at + 1);
    }
    EXPECT_EQ(at, madt + length(madt));
    EXPECT_EQ(seen[0], 1U);
    EXPECT_EQ(seen[1], 1U);
    EXPECT_EQ(seen[2], 2U);
    EXPECT_EQ(seen[4], 1U);
}

TEST_F(AcpiTablesTest, as_many_processors_as_there_are) {
    for (const unsigned cpus : {1U, 3U, max_cpus}) {
        rsdp = write_acpi_tables(ram, {dsdt, 0, cpus});
        ASSERT_NE(rsdp, 0U);
        const auto madt = find("APIC");
        EXPECT_EQ(sum(ram, madt, length(madt)), 0);
        unsigned found = 0;
        for (auto at = madt + 44; at < madt + length(madt); at += get<std::uint8_t>(at + 1)) {
            ASSERT_NE(get<std::uint8_t>(at + 1), 0);
            if (get<std::uint8_t>(at) != 0) continue;
            EXPECT_EQ(get<std::uint8_t>(at + 2), found);
            EXPECT_EQ(get<std::uint8_t>(at + 3), found);
            ++found;
        }
        EXPECT_EQ(found, cpus);
    }
}

TEST_F(AcpiTablesTest, tables_stay_in_their_segment) {
    for (std::size_t i = 0; i < acpi_base; ++i) {
        ASSERT_EQ(ram[i], std::byte{0});
    }
}

TEST_F(AcpiTablesTest, bad_arguments) {
    EXPECT_EQ(write_acpi_tables(std::span{ram}.first(0xf'ffff), {dsdt, 0}), 0U);
    EXPECT_EQ(write_acpi_tables(ram, {dsdt, 255}), 0U);
    EXPECT_EQ(write_acpi_tables(ram, {dsdt, 200, 56}), 0U);
    EXPECT_EQ(write_acpi_tables(ram, {dsdt, 0, 0}), 0U);
    EXPECT_EQ(write_acpi_tables(ram, {dsdt, 0, max_cpus + 1}), 0U);
    EXPECT_EQ(write_acpi_tables(ram, {{}, 0}), 0U);
    EXPECT_EQ(write_acpi_tables(ram, {std::span{dsdt}.first(99), 0}), 0U);
    dsdt[0] = std::byte{'X'};
    EXPECT_EQ(write_acpi_tables(ram, {dsdt, 0}), 0U);
    std::vector<std::byte> huge(0x2'0000);
    std::memcpy(huge.data(), "DSDT", 4);
    store_at<std::uint32_t>(huge, 4, 0x2'0000);
    EXPECT_EQ(write_acpi_tables(ram, {huge, 0}), 0U);
}

/// A table with the flag and the descriptor, as iasl makes them.
std::vector<std::byte> with_window() {
    std::vector<std::byte> table(100);
    const auto put = [&](std::size_t at, std::initializer_list<unsigned> bytes) {
        for (const unsigned b : bytes) table[at++] = static_cast<std::byte>(b);
    };
    put(0, {'D', 'S', 'D', 'T', 100});
    put(36, {0x08, 'W', 'I', 'D', 'E', 0x00});
    put(45, {0x8a, 0x2b, 0x00, 0x00, 0x0c, 0x03});
    store_at<std::uint64_t>(table, 45 + 14, 0x4d41'5247'4159'0000);
    return table;
}

TEST(DsdtOptionsTest, a_second_window) {
    std::vector<std::byte> table = with_window();
    const std::vector<std::byte> before = table;
    EXPECT_TRUE(apply(table, {}));
    EXPECT_EQ(table[41], std::byte{0});
    EXPECT_TRUE(apply(table, {0x10'0000'0000, 0x4000'0000}));
    EXPECT_EQ(table[41], std::byte{1});
    EXPECT_EQ(load_at<std::uint64_t>(table, 59), 0x10'0000'0000U);
    EXPECT_EQ(load_at<std::uint64_t>(table, 67), 0x10'3fff'ffffU);
    EXPECT_EQ(load_at<std::uint64_t>(table, 83), 0x4000'0000U);
    unsigned sum = 0;
    for (const std::byte b : table) sum += static_cast<unsigned>(b);
    EXPECT_EQ(sum & 0xff, 0U);
    table = before;
    table[36] = std::byte{0};
    EXPECT_FALSE(apply(table, {0x10'0000'0000, 0x4000'0000})) << "it has no flag";
    table = before;
    table[62] = std::byte{0};
    EXPECT_FALSE(apply(table, {0x10'0000'0000, 0x4000'0000})) << "another window";
    table = before;
    table.resize(80);
    EXPECT_FALSE(apply(table, {0x10'0000'0000, 0x4000'0000})) << "it is cut off";
}

TEST(DsdtOptionsTest, lines) {
    std::vector<std::byte> table = with_window();
    EXPECT_FALSE(apply(table, {.lines = true})) << "it has none";
    for (const auto& [at, byte] :
         {std::pair{92U, 0x08}, {93U, 'X'}, {94U, 'P'}, {95U, 'R'}, {96U, 'T'}})
        table[at] = static_cast<std::byte>(byte);
    EXPECT_TRUE(apply(table, {.lines = true}));
    EXPECT_EQ(table[93], std::byte{'_'});
    EXPECT_EQ(table[41], std::byte{0}) << "and no window";
}

}  // namespace
}  // namespace margay::vmm

#include "servers/vmm/loader/linux_header.hpp"
#include "servers/vmm/loader/linux_loader.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/ram_layout.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace margay::vmm {
namespace {

namespace at = linux_offset;
constexpr std::size_t mebibyte = 0x10'0000;

/// A bzImage with 2 setup sectors and 0x3000 bytes of code, each byte of it its offset's low bits plus one.
std::vector<std::byte> make_kernel() {
    std::vector<std::byte> kernel(3 * 512 + 0x3000);
    for (std::size_t i = 0; i < 0x3000; ++i) {
        kernel[3 * 512 + i] = static_cast<std::byte>(i % 251 + 1);
    }
    store_at<std::uint8_t>(kernel, at::setup_sectors, 2);
    store_at<std::uint32_t>(kernel, at::size_paragraphs, 0x300);
    store_at<std::uint16_t>(kernel, at::boot_flag, 0xaa55);
    store_at<std::uint8_t>(kernel, at::header_length, 0x6a);
    store_at<std::uint32_t>(kernel, at::magic, 0x5372'6448);
    store_at<std::uint16_t>(kernel, at::version, 0x020f);
    store_at<std::uint8_t>(kernel, at::load_flags, 1);
    store_at<std::uint32_t>(kernel, at::initrd_limit, 0x7fff'ffff);
    store_at<std::uint32_t>(kernel, at::alignment, 0x20'0000);
    store_at<std::uint8_t>(kernel, at::relocatable, 1);
    store_at<std::uint16_t>(kernel, at::extended_load_flags, 3);
    store_at<std::uint32_t>(kernel, at::command_line_size, 2047);
    store_at<std::uint64_t>(kernel, at::setup_data, 0x1234'5678);
    store_at<std::uint64_t>(kernel, at::preferred_address, 0x100'0000);
    store_at<std::uint32_t>(kernel, at::init_size, 0x20'0000);
    return kernel;
}

class LinuxLoaderTest : public ::testing::Test {
  protected:
    LoadResult load() { return load_linux(ram, {kernel, initrd, command_line, 0xe'0000}); }
    /// Loading fails so and leaves RAM alone.
    void expect_error(LoadError error) {
        EXPECT_EQ(to_text(load().error), to_text(error));
        const auto clear =
            ram.empty() || (ram[0] == std::byte{0} &&
                            std::memcmp(ram.data(), ram.data() + 1, ram.size() - 1) == 0);
        EXPECT_TRUE(clear);
    }
    template <typename T>
    T from_ram(std::size_t offset) {
        return load_at<T>(ram, offset);
    }

    std::vector<std::byte> ram = std::vector<std::byte>(32 * mebibyte);
    std::vector<std::byte> kernel = make_kernel();
    std::vector<std::byte> initrd = std::vector<std::byte>(5000, std::byte{0x5a});
    std::string command_line = "console=ttyS0 quiet";
};

TEST_F(LinuxLoaderTest, puts_the_kernel_at_its_preferred_address) {
    const auto result = load();
    ASSERT_EQ(result.error, LoadError::none);
    EXPECT_EQ(result.start.rip, 0x100'0200U);
    EXPECT_EQ(result.start.kernel_base, 0x100'0000U);
    EXPECT_EQ(std::memcmp(ram.data() + 0x100'0000, kernel.data() + 3 * 512, 0x3000), 0);
    EXPECT_EQ(ram[0x100'3000], std::byte{0});
}

TEST_F(LinuxLoaderTest, boot_parameters) {
    const auto result = load();
    const auto zero_page = result.start.rsi;
    EXPECT_EQ(from_ram<std::uint32_t>(zero_page + at::magic), 0x5372'6448U);
    EXPECT_EQ(from_ram<std::uint8_t>(zero_page + at::loader_type), 0xff);
    EXPECT_EQ(from_ram<std::uint64_t>(zero_page + at::rsdp), 0xe'0000U);
    EXPECT_EQ(from_ram<std::uint64_t>(zero_page + at::setup_data), 0U);
    EXPECT_EQ(from_ram<std::uint8_t>(zero_page + 0x1ef),
              0U);  // the sentinel of a loader that clears
    const auto text = from_ram<std::uint32_t>(zero_page + at::command_line);
    EXPECT_STREQ(reinterpret_cast<const char*>(ram.data() + text), command_line.c_str());
}

TEST_F(LinuxLoaderTest, initrd_as_high_as_it_goes) {
    auto result = load();
    EXPECT_EQ(result.start.initrd_base, (ram.size() - 5000) & ~0xfffULL);
    EXPECT_EQ(from_ram<std::uint32_t>(result.start.rsi + at::initrd_address),
              result.start.initrd_base);
    EXPECT_EQ(from_ram<std::uint32_t>(result.start.rsi + at::initrd_size), 5000U);
    EXPECT_EQ(std::memcmp(ram.data() + result.start.initrd_base, initrd.data(), initrd.size()), 0);
    store_at<std::uint32_t>(kernel, at::initrd_limit, 0x17f'ffff);
    result = load();
    EXPECT_EQ(result.start.initrd_base, (0x180'0000U - 5000) & ~0xfffULL);
}

TEST_F(LinuxLoaderTest, no_initrd) {
    initrd.clear();
    const auto result = load();
    EXPECT_EQ(result.error, LoadError::none);
    EXPECT_EQ(result.start.initrd_base, 0U);
    EXPECT_EQ(from_ram<std::uint32_t>(result.start.rsi + at::initrd_size), 0U);
}

TEST_F(LinuxLoaderTest, memory_map_is_sorted_and_leaves_the_hole_out) {
    const auto result = load();
    const auto count = from_ram<std::uint8_t>(result.start.rsi + at::e820_entries);
    ASSERT_EQ(count, 3);
    std::uint64_t end = 0;
    std::uint64_t usable = 0;
    for (unsigned i = 0; i < count; ++i) {
        const auto entry = result.start.rsi + at::e820_table + 20 * i;
        const auto start = from_ram<std::uint64_t>(entry);
        const auto size = from_ram<std::uint64_t>(entry + 8);
        EXPECT_GE(start, end);
        end = start + size;
        if (from_ram<std::uint32_t>(entry + 16) == 1) {
            usable += size;
            EXPECT_TRUE(end <= 0xa'0000 || start >= 0x10'0000);
        }
    }
    EXPECT_EQ(end, ram.size());
    EXPECT_EQ(usable, ram.size() - mebibyte + 0x9'fc00);
}

TEST_F(LinuxLoaderTest, identity_page_tables) {
    const auto result = load();
    for (std::uint64_t address : {0x0ULL, 0x100'0200ULL, 0x7fff'ffffULL, 0xffff'ffffULL}) {
        const auto level4 = from_ram<std::uint64_t>(result.start.cr3 + 8 * (address >> 39));
        ASSERT_EQ(level4 & 1, 1U);
        const auto level3 =
            from_ram<std::uint64_t>((level4 & ~0xfffULL) + 8 * (address >> 30 & 511));
        ASSERT_EQ(level3 & 0x81, 1U);
        const auto level2 =
            from_ram<std::uint64_t>((level3 & ~0xfffULL) + 8 * (address >> 21 & 511));
        ASSERT_EQ(level2 & 0x83, 0x83U);
        EXPECT_EQ(level2 & ~0xfffULL, address & ~0x1f'ffffULL);
    }
}

TEST_F(LinuxLoaderTest, start_state) {
    const auto start = load().start;
    EXPECT_EQ(start.cr0 & 0x8000'0001, 0x8000'0001U);
    EXPECT_EQ(start.cr4, 0x20U);
    EXPECT_EQ(start.efer, 0x500U);
    EXPECT_EQ(from_ram<std::uint64_t>(start.gdt_base + start.code_selector),
              0x00af'9b00'0000'ffffU);
    EXPECT_EQ(from_ram<std::uint64_t>(start.gdt_base + start.data_selector),
              0x00cf'9300'0000'ffffU);
    EXPECT_LE(start.task_selector + 15, start.gdt_limit);
}

TEST_F(LinuxLoaderTest, reloaded_ram_need_not_be_clear) {
    std::fill(ram.begin(), ram.end(), std::byte{0xff});
    const auto result = load();
    EXPECT_EQ(result.error, LoadError::none);
    EXPECT_EQ(from_ram<std::uint8_t>(result.start.rsi + 0x1ef), 0U);
    EXPECT_EQ(from_ram<std::uint64_t>(result.start.cr3 + 8), 0U);
}

struct Damage {
    const char* name;
    LoadError error;
    std::function<void(std::vector<std::byte>&)> apply;
};

template <typename T>
std::function<void(std::vector<std::byte>&)> put(std::size_t offset, T value) {
    return [offset, value](std::vector<std::byte>& kernel) { store_at<T>(kernel, offset, value); };
}

TEST_F(LinuxLoaderTest, malformed_images) {
    const Damage damages[] = {
        {"empty", LoadError::kernel_too_short, [](auto& kernel) { kernel.clear(); }},
        {"one sector", LoadError::kernel_too_short, [](auto& kernel) { kernel.resize(512); }},
        {"header cut", LoadError::kernel_too_short,
         [](auto& kernel) { kernel.resize(at::header_limit - 1); }},
        {"boot flag", LoadError::bad_boot_flag, put<std::uint16_t>(at::boot_flag, 0x55aa)},
        {"magic", LoadError::bad_magic, put<std::uint32_t>(at::magic, 0x5372'6449)},
        {"ELF", LoadError::bad_boot_flag,
         [](auto& kernel) { std::fill(kernel.begin(), kernel.end(), std::byte{0x7f}); }},
        {"old", LoadError::protocol_too_old, put<std::uint16_t>(at::version, 0x01ff)},
        {"version 0", LoadError::protocol_too_old, put<std::uint16_t>(at::version, 0)},
        {"short header", LoadError::short_header, put<std::uint8_t>(at::header_length, 0x61)},
        {"zImage", LoadError::not_bzimage, put<std::uint8_t>(at::load_flags, 0xfe)},
        {"setup beyond file", LoadError::bad_setup_size, put<std::uint8_t>(at::setup_sectors, 255)},
        {"setup is the file", LoadError::bad_setup_size,
         [](auto& kernel) { kernel.resize(3 * 512); }},
        {"code shorter than entry", LoadError::truncated,
         [](auto& kernel) { kernel.resize(3 * 512 + 0x200); }},
        {"code cut", LoadError::truncated,
         [](auto& kernel) { kernel.erase(kernel.end() - 16, kernel.end()); }},
        {"code half", LoadError::truncated,
         [](auto& kernel) { kernel.erase(kernel.end() - 0x1800, kernel.end()); }},
        {"no code", LoadError::truncated, put<std::uint32_t>(at::size_paragraphs, 0)},
        {"tiny code", LoadError::truncated, put<std::uint32_t>(at::size_paragraphs, 0x20)},
        {"huge code", LoadError::truncated, put<std::uint32_t>(at::size_paragraphs, 0xffff'ffff)},
        {"alignment 0", LoadError::bad_alignment, put<std::uint32_t>(at::alignment, 0)},
        {"alignment 3 MiB", LoadError::bad_alignment, put<std::uint32_t>(at::alignment, 0x30'0000)},
        {"alignment 16", LoadError::bad_alignment, put<std::uint32_t>(at::alignment, 16)},
        {"alignment 2 GiB", LoadError::bad_alignment,
         put<std::uint32_t>(at::alignment, 0x8000'0000)},
        {"init size 0", LoadError::bad_init_size, put<std::uint32_t>(at::init_size, 0)},
        {"init size small", LoadError::bad_init_size, put<std::uint32_t>(at::init_size, 0x2fff)},
        {"init size huge", LoadError::kernel_does_not_fit,
         put<std::uint32_t>(at::init_size, 0xffff'ffff)},
        {"init size one too many", LoadError::kernel_does_not_fit,
         put<std::uint32_t>(at::init_size, 0x100'0001)},
        {"address beyond RAM", LoadError::kernel_does_not_fit,
         put<std::uint64_t>(at::preferred_address, 0x200'0000)},
        {"address 3 GiB", LoadError::kernel_does_not_fit,
         put<std::uint64_t>(at::preferred_address, 0xc000'0000)},
        {"address wraps", LoadError::kernel_does_not_fit,
         put<std::uint64_t>(at::preferred_address, ~0xfffULL)},
        {"address wraps on aligning", LoadError::kernel_does_not_fit,
         put<std::uint64_t>(at::preferred_address, ~0ULL)},
        {"initrd limit 0", LoadError::initrd_does_not_fit, put<std::uint32_t>(at::initrd_limit, 0)},
        {"initrd limit in kernel", LoadError::initrd_does_not_fit,
         put<std::uint32_t>(at::initrd_limit, 0x110'0000)},
        {"no command line", LoadError::command_line_too_long,
         put<std::uint32_t>(at::command_line_size, 0)},
        {"command line one short", LoadError::command_line_too_long,
         put<std::uint32_t>(at::command_line_size, 18)},
    };
    for (const auto& damage : damages) {
        SCOPED_TRACE(damage.name);
        kernel = make_kernel();
        damage.apply(kernel);
        expect_error(damage.error);
    }
}

TEST_F(LinuxLoaderTest, protected_mode_without_a_64_bit_entry) {
    store_at<std::uint16_t>(kernel, at::extended_load_flags, 2);
    const auto result = load();
    ASSERT_EQ(result.error, LoadError::none);
    EXPECT_EQ(result.start.rip, 0x100'0000U);
    EXPECT_EQ(result.start.cr0, 0x11U);
    EXPECT_EQ(result.start.cr3 | result.start.cr4 | result.start.efer, 0U);
    EXPECT_EQ(from_ram<std::uint64_t>(result.start.gdt_base + result.start.code_selector),
              0x00cf'9b00'0000'ffffU);
    EXPECT_EQ(result.start.rsi, 0x1'0000U);
}

TEST_F(LinuxLoaderTest, what_old_protocols_leave_unsaid) {
    // Each version with no byte of what it does not know yet.
    struct Old {
        std::uint16_t version;
        std::uint8_t length;  // of the header, from 0x202
    };
    for (const auto& [version, length] :
         {Old{0x0200, 0x1e}, Old{0x0201, 0x24}, Old{0x0202, 0x2a}, Old{0x0203, 0x2e},
          Old{0x0204, 0x2e}, Old{0x0205, 0x33}, Old{0x0206, 0x3a}, Old{0x0209, 0x56},
          Old{0x020a, 0x62}}) {
        SCOPED_TRACE(version);
        kernel = make_kernel();
        store_at<std::uint16_t>(kernel, at::version, version);
        store_at<std::uint8_t>(kernel, at::header_length, length);
        for (std::size_t i = 0x202U + length; i < 3 * 512; ++i) {
            kernel[i] = std::byte{0xdd};
        }
        if (version < 0x0204) {
            store_at<std::uint16_t>(kernel, at::size_paragraphs + 2, 0xdddd);
        }
        command_line.assign(255, 'x');
        const auto result = load();
        ASSERT_EQ(to_text(result.error), "loaded");
        // Relocatable since 2.05 (aligned to 2 MiB), a preferred address since 2.10.
        EXPECT_EQ(result.start.kernel_base, version >= 0x020a   ? 0x100'0000U
                                            : version >= 0x0205 ? 0x20'0000U
                                                                : 0x10'0000U);
        EXPECT_EQ(result.start.rip, result.start.kernel_base);
        EXPECT_EQ(std::memcmp(ram.data() + result.start.rip, kernel.data() + 3 * 512, 0x3000), 0);
        EXPECT_EQ(result.start.initrd_base, (ram.size() - 5000) & ~0xfffULL);
        const auto line = version >= 0x0202
                              ? from_ram<std::uint32_t>(result.start.rsi + at::command_line)
                              : 0x9'0000U + from_ram<std::uint16_t>(result.start.rsi + 0x22);
        EXPECT_STREQ(reinterpret_cast<const char*>(ram.data() + line), command_line.c_str());
        EXPECT_EQ(from_ram<std::uint16_t>(result.start.rsi + 0x20), version >= 0x0202 ? 0 : 0xa33f);
        EXPECT_EQ(from_ram<std::uint32_t>(result.start.rsi + 0x1e0), 31U * 1024);
        EXPECT_EQ(from_ram<std::uint16_t>(result.start.rsi + 2), 31U * 1024);
        command_line += 'x';
        if (version < 0x0206) {
            EXPECT_EQ(load().error, LoadError::command_line_too_long);
        }
        command_line.clear();
        store_at<std::uint8_t>(kernel, at::header_length, length - 7);
        EXPECT_EQ(load().error, LoadError::short_header);
    }
}

TEST_F(LinuxLoaderTest, low_fixed_address_is_refused_and_relocatable_moved_up) {
    store_at<std::uint64_t>(kernel, at::preferred_address, 0);
    EXPECT_EQ(load().start.kernel_base, 0x20'0000U);
    store_at<std::uint8_t>(kernel, at::relocatable, 0);
    EXPECT_EQ(load().error, LoadError::kernel_does_not_fit);
}

TEST_F(LinuxLoaderTest, sizes_at_the_limit_fit) {
    store_at<std::uint32_t>(kernel, at::init_size, 0x100'0000);
    EXPECT_EQ(load().error, LoadError::initrd_does_not_fit);
    initrd.clear();
    EXPECT_EQ(load().error, LoadError::none);
    store_at<std::uint32_t>(kernel, at::init_size, 0x100'0000 - 0x2000);
    initrd.resize(0x2000);
    EXPECT_EQ(load().error, LoadError::none);
    initrd.resize(0x2001);
    EXPECT_EQ(load().error, LoadError::initrd_does_not_fit);
    store_at<std::uint32_t>(kernel, at::command_line_size, 19);
    initrd.clear();
    EXPECT_EQ(load().error, LoadError::none);
}

TEST_F(LinuxLoaderTest, command_line_has_a_limit_of_ours_too) {
    store_at<std::uint32_t>(kernel, at::command_line_size, 0xffff'ffff);
    command_line.assign(0xf000 - 1, 'x');
    EXPECT_EQ(load().error, LoadError::none);
    command_line += 'x';
    EXPECT_EQ(load().error, LoadError::command_line_too_long);
}

TEST_F(LinuxLoaderTest, old_setup_size_zero_means_four) {
    kernel.insert(kernel.begin() + 512, 2 * 512, std::byte{0});  // keeps the first sector
    auto fresh = make_kernel();
    std::copy(fresh.begin() + 512, fresh.begin() + 0x290, kernel.begin() + 512);
    store_at<std::uint8_t>(kernel, at::setup_sectors, 0);
    EXPECT_EQ(parse_linux_header(kernel).code_offset, 5U * 512);
}

TEST_F(LinuxLoaderTest, incomplete_last_paragraph_and_trailing_signature) {
    kernel.resize(kernel.size() - 15);
    EXPECT_EQ(load().error, LoadError::none);
    kernel = make_kernel();
    kernel.resize(kernel.size() + 777, std::byte{0xee});
    EXPECT_EQ(load().error, LoadError::none);
    EXPECT_EQ(ram[0x100'3000], std::byte{0});
}

TEST_F(LinuxLoaderTest, little_ram) {
    for (const auto size : {std::size_t{0}, std::size_t{1}, mebibyte, 2 * mebibyte - 1}) {
        ram.assign(size, std::byte{0});
        expect_error(LoadError::ram_too_small);
    }
    ram.assign(2 * mebibyte, std::byte{0});
    expect_error(LoadError::kernel_does_not_fit);
}

TEST_F(LinuxLoaderTest, random_headers_never_write_outside) {
    std::mt19937 random{42};
    ram.resize(20 * mebibyte);
    for (unsigned round = 0; round < 3000; ++round) {
        kernel = make_kernel();
        for (unsigned i = 0; i < 1 + random() % 4; ++i) {
            kernel[0x1f1 + random() % (at::header_end - 0x1f1)] = static_cast<std::byte>(random());
        }
        EXPECT_FALSE(to_text(load().error).empty());  // the sanitizers watch
    }
}

TEST(RamLayout, splits_at_three_gibibytes) {
    EXPECT_EQ(RamLayout::make(512 * mebibyte).low, 512 * mebibyte);
    EXPECT_EQ(RamLayout::make(512 * mebibyte).high, 0U);
    EXPECT_EQ(RamLayout::make(4096 * mebibyte).low, 3072 * mebibyte);
    EXPECT_EQ(RamLayout::make(4096 * mebibyte).high, 1024 * mebibyte);
}

}  // namespace
}  // namespace margay::vmm

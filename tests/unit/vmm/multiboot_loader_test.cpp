#include "servers/vmm/loader/load_image.hpp"
#include "tests/unit/vmm/elf_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace margay::vmm {
namespace {

using test::ElfFile;
constexpr std::size_t mebibyte = 0x10'0000;
constexpr std::uint32_t magic = 0x1bad'b002;
constexpr std::uint32_t with_addresses = 0x1'0003;

/// A Multiboot kernel by addresses: header at file offset 0x100, the image begins at 0x40 for 2 MiB, has 0x800 bytes in
/// the file and 0x2000 in memory.
class MultibootLoader : public ::testing::Test {
  protected:
    static constexpr std::uint32_t base = 0x20'0000;
    static constexpr std::size_t header = 0x100, code = 0x40, size_in_file = 0x800;

    void SetUp() override { make(); }
    void make() {
        kernel.assign(code + size_in_file, std::byte{0});
        for (std::size_t i = 0; i < kernel.size(); ++i) {
            kernel[i] = static_cast<std::byte>(i % 251 + 1);
        }
        put_header(header, with_addresses);
        address(12, base + header - code);
        address(16, base);
        address(20, base + size_in_file);
        address(24, base + 0x2000);
        address(28, base + 0x10);
    }
    void put_header(std::size_t offset, std::uint32_t flags) {
        store_at<std::uint32_t>(kernel, offset, magic);
        store_at<std::uint32_t>(kernel, offset + 4, flags);
        store_at<std::uint32_t>(kernel, offset + 8, 0 - magic - flags);
    }
    void address(std::size_t field, std::uint32_t value) {
        store_at<std::uint32_t>(kernel, header + field, value);
    }
    LoadResult load() { return load_image(ram, {kernel, initrd, "a line", 0xe'0000}); }
    void expect_error(LoadError error) {
        std::fill(ram.begin(), ram.end(), std::byte{0x11});
        EXPECT_EQ(to_text(load().error), to_text(error));
        EXPECT_TRUE(
            std::all_of(ram.begin(), ram.end(), [](std::byte b) { return b == std::byte{0x11}; }));
    }
    std::uint32_t at(std::uint64_t offset) { return load_at<std::uint32_t>(ram, offset); }
    const char* text(std::uint64_t offset) {
        return reinterpret_cast<const char*>(ram.data() + at(offset));
    }

    std::vector<std::byte> kernel;
    std::vector<std::byte> ram = std::vector<std::byte>(4 * mebibyte, std::byte{0xee});
    std::vector<std::byte> initrd = std::vector<std::byte>(5000, std::byte{0x5a});
};

TEST_F(MultibootLoader, ByAddresses) {
    const auto result = load();
    ASSERT_EQ(to_text(result.error), "loaded");
    EXPECT_EQ(std::memcmp(ram.data() + base, kernel.data() + code, size_in_file), 0);
    const auto* const bss = ram.data() + base + size_in_file;
    EXPECT_TRUE(std::all_of(bss, bss + 0x2000 - size_in_file,
                            [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_EQ(bss[0x2000 - size_in_file], std::byte{0x5a});  // the module
    EXPECT_EQ(result.start.rip, base + 0x10U);
    EXPECT_EQ(result.start.rax, 0x2bad'b002U);
    EXPECT_EQ(result.start.cr0, 0x11U);
    EXPECT_EQ(result.start.efer | result.start.cr3 | result.start.cr4, 0U);
}

TEST_F(MultibootLoader, FirmwareDataArea) {
    ASSERT_EQ(to_text(load().error), "loaded");
    EXPECT_EQ(load_at<std::uint16_t>(ram, 0x400), 0x3f8);   // COM1
    EXPECT_EQ(load_at<std::uint16_t>(ram, 0x40e), 0x9fc0);  // where low memory ends, as a segment
    EXPECT_EQ(load_at<std::uint16_t>(ram, 0x413), 639);     // and in KiB
}

TEST_F(MultibootLoader, Information) {
    const auto start = load().start;
    const auto info = start.rbx;
    EXPECT_EQ(at(info), 0x24dU);  // memory, command line, modules, map, loader
    EXPECT_EQ(at(info + 4), 639U);
    EXPECT_EQ(at(info + 8), 3U * 1024);
    EXPECT_STREQ(text(info + 16), "kernel a line");
    EXPECT_STREQ(text(info + 64), "Margay");
    ASSERT_EQ(at(info + 20), 1U);
    const auto module = at(info + 24);
    EXPECT_EQ(at(module), base + 0x2000);
    EXPECT_EQ(at(module), start.initrd_base);
    EXPECT_EQ(at(module + 4), base + 0x2000 + 5000);
    EXPECT_STREQ(text(module + 8), "");
    EXPECT_EQ(std::memcmp(ram.data() + at(module), initrd.data(), initrd.size()), 0);
    ASSERT_EQ(at(info + 44), 3U * 24);
    const auto map = at(info + 48);
    EXPECT_EQ(at(map), 20U);
    EXPECT_EQ(at(map + 12), 0x9'fc00U);
    EXPECT_EQ(at(map + 24 + 20), 2U);
    EXPECT_EQ(at(map + 48 + 4), mebibyte);
    EXPECT_EQ(at(map + 48 + 12), 3 * mebibyte);
    EXPECT_EQ(at(map + 48 + 20), 1U);
}

TEST_F(MultibootLoader, WithoutModule) {
    initrd.clear();
    const auto start = load().start;
    EXPECT_EQ(start.initrd_base, 0U);
    EXPECT_EQ(at(start.rbx), 0x245U);
    EXPECT_EQ(at(start.rbx + 20), 0U);
}

TEST_F(MultibootLoader, ZeroMeansTheWholeFileAndNoBss) {
    address(20, 0);
    address(24, 0);
    const auto result = load();
    ASSERT_EQ(to_text(result.error), "loaded");
    EXPECT_EQ(std::memcmp(ram.data() + base, kernel.data() + code, size_in_file), 0);
    EXPECT_EQ(result.start.initrd_base, base + 0x1000U);
}

TEST_F(MultibootLoader, AsElf) {
    for (const bool wide : {false, true}) {
        ElfFile file{wide};
        kernel = file.bytes;
        put_header(0x200, 3);
        auto result = load();
        ASSERT_EQ(to_text(result.error), "loaded");
        EXPECT_EQ(result.start.rip, ElfFile::address + 0x10);  // its entry was a virtual address
        EXPECT_EQ(result.start.rax, 0x2bad'b002U);
        EXPECT_EQ(result.start.initrd_base, ElfFile::address + ElfFile::size);
        EXPECT_EQ(std::memcmp(ram.data() + ElfFile::address, kernel.data() + ElfFile::content,
                              ElfFile::size_in_file),
                  0);
        file.put_word(24, ElfFile::address + 0x30);
        kernel = file.bytes;
        put_header(0x200, 0);
        EXPECT_EQ(load().start.rip, ElfFile::address + 0x30);
        file.put_word(24, ElfFile::address - 1);
        kernel = file.bytes;
        put_header(0x200, 0);
        expect_error(LoadError::bad_entry);
        file.put16(18, 183);
        kernel = file.bytes;
        put_header(0x200, 0);
        expect_error(LoadError::elf_not_for_x86);
    }
}

TEST_F(MultibootLoader, TheHeaderIsInTheFirstEightKibibytes) {
    const auto with_header_at = [this](std::size_t offset) {
        kernel = ElfFile{true}.bytes;
        kernel.resize(0x3000);
        put_header(offset, 3);
        return protocol_of(kernel);
    };
    EXPECT_EQ(with_header_at(8192 - 12), BootProtocol::multiboot);
    EXPECT_EQ(with_header_at(8192 - 8), BootProtocol::pvh);
    EXPECT_EQ(with_header_at(0x202), BootProtocol::pvh) << "not at a multiple of four";
    // A wrong one before the right one.
    static_cast<void>(with_header_at(0x300));
    store_at<std::uint32_t>(kernel, 0x200, magic);
    EXPECT_EQ(protocol_of(kernel), BootProtocol::multiboot);
    // Linux' header comes first.
    store_at<std::uint16_t>(kernel, 0x1fe, 0xaa55);
    store_at<std::uint32_t>(kernel, 0x202, 0x5372'6448);
    EXPECT_EQ(protocol_of(kernel), BootProtocol::linux);
    for (const std::size_t size : {0, 1, 3, 11, 0x205}) {
        EXPECT_EQ(protocol_of(std::vector<std::byte>(size)), BootProtocol::unknown);
    }
}

TEST_F(MultibootLoader, MalformedFiles) {
    struct Damage {
        const char* name;
        LoadError error;
        std::function<void()> apply;
    };
    const Damage damages[] = {
        {"nothing", LoadError::unknown_protocol, [&] { kernel.clear(); }},
        {"no magic", LoadError::unknown_protocol, [&] { address(0, magic + 1); }},
        {"checksum", LoadError::bad_multiboot_checksum, [&] { address(8, 0); }},
        {"unknown requirement", LoadError::multiboot_unknown_flags,
         [&] { put_header(header, with_addresses | 8); }},
        {"last requirement", LoadError::multiboot_unknown_flags,
         [&] { put_header(header, with_addresses | 0x8000); }},
        {"video", LoadError::multiboot_needs_video,
         [&] { put_header(header, with_addresses | 4); }},
        {"no addresses", LoadError::multiboot_no_addresses, [&] { put_header(header, 3); }},
        {"header cut", LoadError::multiboot_truncated, [&] { kernel.resize(header + 31); }},
        {"image cut", LoadError::multiboot_truncated, [&] { kernel.pop_back(); }},
        {"header before the image", LoadError::multiboot_bad_addresses,
         [&] { address(12, base - 4); }},
        {"image before the file", LoadError::multiboot_bad_addresses,
         [&] { address(12, base + header + 4); }},
        {"end before the beginning", LoadError::multiboot_bad_addresses,
         [&] { address(20, base - 1); }},
        {"an empty image", LoadError::multiboot_bad_addresses, [&] { address(20, base); }},
        {"BSS ends before the image", LoadError::multiboot_bad_addresses,
         [&] { address(24, base + size_in_file - 1); }},
        {"entry before the image", LoadError::multiboot_bad_addresses,
         [&] { address(28, base - 1); }},
        {"entry behind the image", LoadError::multiboot_bad_addresses,
         [&] { address(28, base + size_in_file); }},
        {"beyond RAM", LoadError::kernel_does_not_fit, [&] { address(24, 0x40'0001); }},
        {"up to 4 GiB", LoadError::kernel_does_not_fit, [&] { address(24, 0xffff'ffff); }},
        {"no room for the module", LoadError::initrd_does_not_fit, [&] { address(24, 0x3f'f000); }},
        {"below 1 MiB", LoadError::kernel_too_low,
         [&] {
             address(12, 0xf'0000 + header - code);
             address(16, 0xf'0000);
             address(20, 0xf'0000 + size_in_file);
             address(28, 0xf'0000);
         }},
    };
    for (const auto& damage : damages) {
        SCOPED_TRACE(damage.name);
        make();
        damage.apply();
        expect_error(damage.error);
    }
    make();
    put_header(header, with_addresses | 0xfffe'0000);  // what is not required may be unknown
    EXPECT_EQ(to_text(load().error), "loaded");
}

TEST_F(MultibootLoader, CommandLineAndRamHaveLimits) {
    const std::string long_line(0xf000 - 7, 'x');
    EXPECT_EQ(load_image(ram, {kernel, {}, long_line, 0}).error, LoadError::command_line_too_long);
    EXPECT_EQ(load_image(ram, {kernel, {}, std::string_view{long_line}.substr(1), 0}).error,
              LoadError::none);
    ram.resize(2 * mebibyte - 1);
    expect_error(LoadError::ram_too_small);
}

TEST_F(MultibootLoader, RandomDamageStaysInside) {
    std::mt19937 random{7};
    for (unsigned round = 0; round < 3000; ++round) {
        make();
        for (unsigned i = 0; i < 1 + random() % 4; ++i) {
            kernel[header + 12 + random() % 20] = static_cast<std::byte>(random());
        }
        EXPECT_FALSE(to_text(load().error).empty());  // the sanitizers watch
    }
}

}  // namespace
}  // namespace margay::vmm

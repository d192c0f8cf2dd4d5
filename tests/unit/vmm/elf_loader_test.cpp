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

/// ELF kernels with a PVH note, of 32 and of 64 bits.
class ElfLoader : public ::testing::TestWithParam<bool> {
  protected:
    LoadResult load() { return load_image(ram, {file.bytes, initrd, "a line", 0xe'0000}); }
    void expect_error(LoadError error) {
        std::fill(ram.begin(), ram.end(), std::byte{0x11});
        EXPECT_EQ(to_text(load().error), to_text(error));
        EXPECT_TRUE(
            std::all_of(ram.begin(), ram.end(), [](std::byte b) { return b == std::byte{0x11}; }));
    }
    template <typename T = std::uint64_t>
    T at(std::uint64_t offset) {
        return load_at<T>(ram, offset);
    }

    ElfFile file{GetParam()};
    std::vector<std::byte> ram = std::vector<std::byte>(4 * mebibyte, std::byte{0xee});
    std::vector<std::byte> initrd = std::vector<std::byte>(5000, std::byte{0x5a});
};

INSTANTIATE_TEST_SUITE_P(Widths, ElfLoader, ::testing::Bool(),
                         [](const auto& which) { return which.param ? "Of64Bits" : "Of32Bits"; });

TEST_P(ElfLoader, SegmentsAndStart) {
    const auto result = load();
    ASSERT_EQ(to_text(result.error), "loaded");
    EXPECT_EQ(std::memcmp(ram.data() + ElfFile::address, file.bytes.data() + ElfFile::content,
                          ElfFile::size_in_file),
              0);
    const auto* const bss = ram.data() + ElfFile::address + ElfFile::size_in_file;
    EXPECT_TRUE(std::all_of(bss, bss + ElfFile::size - ElfFile::size_in_file,
                            [](std::byte b) { return b == std::byte{0}; }));
    const auto& start = result.start;
    EXPECT_EQ(start.rip, ElfFile::address + 0x20);
    EXPECT_EQ(start.cr0, 0x11U);
    EXPECT_EQ(start.efer | start.cr3 | start.cr4, 0U);
    EXPECT_EQ(at(start.gdt_base + start.code_selector), 0x00cf'9b00'0000'ffffU);
}

TEST_P(ElfLoader, StartInfo) {
    const auto start = load().start;
    const auto info = start.rbx;
    EXPECT_EQ(at<std::uint32_t>(info), 0x336e'c578U);
    EXPECT_EQ(at<std::uint32_t>(info + 4), 1U);
    EXPECT_EQ(at<std::uint32_t>(info + 8), 0U);
    EXPECT_STREQ(reinterpret_cast<const char*>(ram.data() + at(info + 24)), "a line");
    EXPECT_EQ(at(info + 32), 0xe'0000U);
    ASSERT_EQ(at<std::uint32_t>(info + 12), 1U);
    const auto module = at(info + 16);
    EXPECT_EQ(at(module), ElfFile::address + ElfFile::size);
    EXPECT_EQ(at(module), start.initrd_base);
    EXPECT_EQ(at(module + 8), initrd.size());
    EXPECT_EQ(std::memcmp(ram.data() + at(module), initrd.data(), initrd.size()), 0);
    ASSERT_EQ(at<std::uint32_t>(info + 48), 3U);
    const auto map = at(info + 40);
    EXPECT_EQ(at(map + 8), 0x9'fc00U);
    EXPECT_EQ(at<std::uint32_t>(map + 16), 1U);
    EXPECT_EQ(at<std::uint32_t>(map + 40), 2U);
    EXPECT_EQ(at(map + 48), mebibyte);
    EXPECT_EQ(at(map + 56), 3 * mebibyte);
}

TEST_P(ElfLoader, WithoutModule) {
    initrd.clear();
    const auto start = load().start;
    EXPECT_EQ(start.initrd_base, 0U);
    EXPECT_EQ(at<std::uint32_t>(start.rbx + 12), 0U);
}

TEST_P(ElfLoader, NotesAlignedToEight) {
    file.segment(1, 4, ElfFile::note, 0, 0, 32, 32, 8);
    const std::uint32_t notes[] = {4, 4, 18, 0x6e6558, ElfFile::address, 0, 0, 0};
    std::memcpy(file.bytes.data() + ElfFile::note, notes, sizeof(notes));
    EXPECT_EQ(load().start.rip, ElfFile::address);
}

TEST_P(ElfLoader, AnEntryOfEightBytes) {
    file.put32(ElfFile::note + 20, 8);
    file.segment(1, 4, ElfFile::note, 0, 0, 40, 40, 4);
    EXPECT_EQ(load().start.rip, ElfFile::address + 0x20);
}

TEST_P(ElfLoader, MalformedFiles) {
    constexpr auto address = ElfFile::address;
    struct Damage {
        const char* name;
        LoadError error;
        std::function<void(ElfFile&)> apply;
    };
    const auto segment = [](std::uint64_t offset, std::uint64_t at, std::uint64_t in_file,
                            std::uint64_t in_memory) {
        return [=](ElfFile& f) {
            f.segment(0, 1, offset, ElfFile::virtual_address, at, in_file, in_memory, 0x1000);
        };
    };
    const bool wide = GetParam();
    const Damage damages[] = {
        {"four bytes", LoadError::elf_truncated, [](ElfFile& f) { f.bytes.resize(4); }},
        {"header cut", LoadError::elf_truncated,
         [wide](ElfFile& f) { f.bytes.resize(wide ? 63 : 51); }},
        {"class", LoadError::elf_not_for_x86, [](ElfFile& f) { f.put8(4, 3); }},
        {"byte order", LoadError::elf_not_for_x86, [](ElfFile& f) { f.put8(5, 2); }},
        {"machine", LoadError::elf_not_for_x86, [](ElfFile& f) { f.put16(18, 183); }},
        {"an object file", LoadError::elf_not_for_x86, [](ElfFile& f) { f.put16(16, 1); }},
        {"table beyond the file", LoadError::elf_truncated,
         [wide](ElfFile& f) { f.put_word(wide ? 32 : 28, f.bytes.size() - 32); }},
        {"table wraps", LoadError::elf_truncated,
         [wide](ElfFile& f) { f.put_word(wide ? 32 : 28, ~0ULL); }},
        {"small entries", LoadError::elf_truncated,
         [wide](ElfFile& f) { f.put16(wide ? 54 : 42, 31); }},
        {"many entries", LoadError::elf_truncated,
         [wide](ElfFile& f) { f.put16(wide ? 56 : 44, 0xffff); }},
        {"no entries", LoadError::elf_no_segments,
         [wide](ElfFile& f) { f.put16(wide ? 56 : 44, 0); }},
        {"an empty segment", LoadError::elf_no_segments, segment(0x1000, address, 0, 0)},
        {"segment beyond the file", LoadError::elf_truncated,
         segment(0x1001, address, 0x400, 0x3000)},
        {"segment's offset wraps", LoadError::elf_truncated,
         segment(~0ULL, address, 0x400, 0x3000)},
        {"more in the file than in memory", LoadError::elf_bad_segment,
         segment(0x1000, address, 0x400, 0x3ff)},
        {"beyond 4 GiB", LoadError::elf_bad_segment, segment(0x1000, 0xffff'f000, 0x400, 0x1001)},
        {"its address wraps", LoadError::elf_bad_segment,
         segment(0x1000, ~0ULL, 0x400, wide ? ~0ULL : 0xffff'ffff)},
        {"below 1 MiB", LoadError::kernel_too_low, segment(0x1000, 0xf'f000, 0x400, 0x40'0000)},
        {"beyond RAM", LoadError::bad_entry, segment(0x1000, 0x40'0000, 0x400, 0x3000)},
        {"ends beyond RAM", LoadError::kernel_does_not_fit,
         segment(0x1000, address, 0x400, 0x20'0001)},
        {"no room for the module", LoadError::initrd_does_not_fit,
         segment(0x1000, address, 0x400, 0x1f'f000)},
        {"no Xen", LoadError::no_pvh_note, [](ElfFile& f) { f.put8(ElfFile::note + 28, 'x'); }},
        {"another type", LoadError::no_pvh_note,
         [](ElfFile& f) { f.put32(ElfFile::note + 24, 17); }},
        {"another size", LoadError::bad_pvh_note,
         [](ElfFile& f) { f.put32(ElfFile::note + 20, 5); }},
        {"note too long", LoadError::bad_pvh_note,
         [](ElfFile& f) { f.put32(ElfFile::note + 20, 9); }},
        {"name too long", LoadError::bad_pvh_note,
         [](ElfFile& f) { f.put32(ElfFile::note, 0xffff'ffff); }},
        {"description too long", LoadError::bad_pvh_note,
         [](ElfFile& f) { f.put32(ElfFile::note + 4, 0xffff'ffff); }},
        {"notes beyond the file", LoadError::elf_truncated,
         [](ElfFile& f) { f.segment(1, 4, f.bytes.size() - 39, 0, 0, 40, 40, 4); }},
        {"entry before the segment", LoadError::bad_entry,
         [](ElfFile& f) { f.put32(ElfFile::note + 32, address - 1); }},
        {"entry behind the segment", LoadError::bad_entry,
         [](ElfFile& f) { f.put32(ElfFile::note + 32, address + 0x3000); }},
    };
    for (const auto& damage : damages) {
        SCOPED_TRACE(damage.name);
        file = ElfFile{wide};
        damage.apply(file);
        expect_error(damage.error);
    }
}

TEST_P(ElfLoader, CommandLineAndRamHaveLimits) {
    const std::string long_line(0xf000, 'x');
    EXPECT_EQ(load_image(ram, {file.bytes, {}, long_line, 0}).error,
              LoadError::command_line_too_long);
    EXPECT_EQ(load_image(ram, {file.bytes, {}, std::string_view{long_line}.substr(1), 0}).error,
              LoadError::none);
    ram.resize(2 * mebibyte - 1);
    expect_error(LoadError::ram_too_small);
    ram.resize(2 * mebibyte);
    expect_error(LoadError::kernel_does_not_fit);
}

TEST_P(ElfLoader, RandomDamageStaysInside) {
    std::mt19937 random{7};
    for (unsigned round = 0; round < 3000; ++round) {
        file = ElfFile{GetParam()};
        for (unsigned i = 0; i < 1 + random() % 4; ++i) {
            const auto where = random() % 4 == 0 ? ElfFile::note + random() % 40 : random() % 176;
            file.bytes[where] = static_cast<std::byte>(random());
        }
        EXPECT_FALSE(to_text(load().error).empty());  // the sanitizers watch
    }
}

}  // namespace
}  // namespace margay::vmm

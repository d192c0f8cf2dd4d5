#include "support/elf.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>

namespace margay {
namespace {

constexpr std::uint64_t lowest = 0x400000, highest = 0x10000000;

// A header, two segments, and room for their bytes.
struct Image {
    struct File {
        ElfHeader header{};
        ElfSegment segments[2]{};
        std::uint8_t bytes[0x3000]{};
    };
    File f;

    Image() {
        const std::uint8_t ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
        std::memcpy(f.header.ident, ident, sizeof(ident));
        f.header.type = 2;
        f.header.machine = 62;
        f.header.entry = lowest + 0x10;
        f.header.program_headers = sizeof(ElfHeader);
        f.header.program_header_size = sizeof(ElfSegment);
        f.header.program_header_count = 2;
        f.segments[0] = {1, 5, 0, lowest, 0, 0x1000, 0x1000, 4096};
        f.segments[1] = {1, 6, 0x1000, lowest + 0x1000, 0, 0x800, 0x4000, 4096};
    }
    // Null if it is accepted.
    const char* check(std::uint64_t size = sizeof(File)) {
        return check_elf(reinterpret_cast<const std::uint8_t*>(&f), size, lowest, highest);
    }
};

TEST(Elf, GoodImageIsAccepted) { EXPECT_EQ(Image{}.check(), nullptr); }

struct Defect {
    const char* why;
    std::function<void(Image&)> make;
};

TEST(Elf, EachDefectIsNamed) {
    const Defect defects[] = {
        {"not an ELF file", [](Image& i) { i.f.header.ident[0] = 0; }},
        {"not an ELF file", [](Image& i) { i.f.header.ident[3] = 'f'; }},
        {"not a static x86-64 executable", [](Image& i) { i.f.header.ident[4] = 1; }},
        {"not a static x86-64 executable", [](Image& i) { i.f.header.ident[5] = 2; }},
        {"not a static x86-64 executable", [](Image& i) { i.f.header.type = 3; }},
        {"not a static x86-64 executable", [](Image& i) { i.f.header.machine = 3; }},
        {"bad program headers", [](Image& i) { i.f.header.program_header_count = 0; }},
        {"bad program headers", [](Image& i) { i.f.header.program_header_count = 17; }},
        {"bad program headers", [](Image& i) { i.f.header.program_header_size = 32; }},
        {"bad program headers", [](Image& i) { i.f.header.program_headers = ~0ull - 7; }},
        {"bad program headers",
         [](Image& i) { i.f.header.program_headers = sizeof(Image::File) - 64; }},
        {"bad program headers", [](Image& i) { i.f.header.program_headers = 65; }},
        {"a segment lies outside the file", [](Image& i) { i.f.segments[0].offset = ~0ull; }},
        {"a segment lies outside the file", [](Image& i) { i.f.segments[1].file_size = 0x4000; }},
        {"a segment lies outside the file", [](Image& i) { i.f.segments[1].memory_size = 0x7ff; }},
        {"a segment lies outside the address space",
         [](Image& i) { i.f.segments[0].address += 1; }},
        {"a segment lies outside the address space", [](Image& i) { i.f.segments[0].address = 0; }},
        {"a segment lies outside the address space",
         [](Image& i) { i.f.segments[1].address = highest; }},
        {"a segment lies outside the address space",
         [](Image& i) { i.f.segments[1].memory_size = highest; }},
        {"a segment lies outside the address space",
         [](Image& i) { i.f.segments[1].memory_size = ~0ull; }},
        {"a segment is writable and executable", [](Image& i) { i.f.segments[1].flags = 7; }},
        {"the entry point is outside the address space", [](Image& i) { i.f.header.entry = 0; }},
        {"the entry point is outside the address space",
         [](Image& i) { i.f.header.entry = highest; }},
    };
    for (const Defect& d : defects) {
        Image image;
        d.make(image);
        EXPECT_STREQ(image.check(), d.why);
    }
}

TEST(Elf, EmptyAndOtherSegmentsAreNotLookedAt) {
    Image image;
    image.f.segments[0].type = 4;
    image.f.segments[0].offset = ~0ull;
    image.f.segments[1].memory_size = 0;
    image.f.segments[1].address = 1;
    EXPECT_EQ(image.check(), nullptr);
}

TEST(Elf, TruncationAtEveryLengthIsRefusedOrHarmless) {
    Image image;
    for (std::uint64_t size = 0; size < sizeof(Image::File); size += size < 512 ? 1 : 97) {
        // A copy of exactly that size: reading behind it is an error of its own.
        auto* copy = new std::uint64_t[size / 8 + 1];
        auto* end = reinterpret_cast<std::uint8_t*>(copy) + (size / 8 + 1) * 8;
        const std::uint64_t kept = size & ~7ull;
        std::memcpy(end - kept - 8, &image.f, kept);
        const char* why = check_elf(end - kept - 8, kept, lowest, highest);
        EXPECT_EQ(why != nullptr, kept < 0x1800) << kept;
        delete[] copy;
    }
}

TEST(Elf, RandomDamageNeverReadsOutside) {
    std::mt19937_64 random{7};
    for (unsigned n = 0; n < 20000; ++n) {
        Image image;
        auto* bytes = reinterpret_cast<std::uint8_t*>(&image.f);
        for (unsigned k = 0; k < 1 + n % 4; ++k)
            bytes[random() % (sizeof(ElfHeader) + 2 * sizeof(ElfSegment))] =
                static_cast<std::uint8_t>(random());
        const char* why = image.check();
        if (why != nullptr) continue;
        for (const ElfSegment& s : image.f.segments) {
            if (image.f.header.program_headers != sizeof(ElfHeader) || s.type != 1 ||
                s.memory_size == 0)
                continue;
            if (image.f.header.program_header_count < 2) continue;
            EXPECT_LE(s.offset + s.file_size, sizeof(Image::File));
            EXPECT_GE(s.address, lowest);
            EXPECT_LE(s.address + s.memory_size, highest);
        }
    }
}

}  // namespace
}  // namespace margay

#include "ukernel/boot/multiboot2.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace margay {
namespace {

// Boot information as a loader writes it.
class Info {
  public:
    Info() : bytes_(8) {}
    Info& tag(std::uint32_t type, const std::vector<std::uint8_t>& body) {
        put32(type);
        put32(static_cast<std::uint32_t>(8 + body.size()));
        bytes_.insert(bytes_.end(), body.begin(), body.end());
        while (bytes_.size() % 8 != 0) bytes_.push_back(0xee);
        return *this;
    }
    Info& end() { return tag(0, {}); }
    Info& text(std::uint32_t type, const std::string& s) {
        std::vector<std::uint8_t> body(s.begin(), s.end());
        body.push_back(0);
        return tag(type, body);
    }
    Info& module(std::uint32_t begin, std::uint32_t end, const std::string& name) {
        std::vector<std::uint8_t> body = words({begin, end});
        body.insert(body.end(), name.begin(), name.end());
        body.push_back(0);
        return tag(3, body);
    }
    struct Ram {
        std::uint64_t base, length;
        std::uint32_t type;
    };
    Info& memory(const std::vector<Ram>& ram, std::uint32_t entry = 24) {
        std::vector<std::uint8_t> body = words({entry, 0});
        for (const Ram& r : ram) {
            std::vector<std::uint8_t> e(std::max(entry, 24u));
            std::memcpy(e.data(), &r.base, 8);
            std::memcpy(e.data() + 8, &r.length, 8);
            std::memcpy(e.data() + 16, &r.type, 4);
            body.insert(body.end(), e.begin(), e.end());
        }
        return tag(6, body);
    }
    std::vector<std::uint8_t> bytes() const {
        std::vector<std::uint8_t> b = bytes_;
        const auto size = static_cast<std::uint32_t>(b.size());
        std::memcpy(b.data(), &size, 4);
        return b;
    }
    static std::vector<std::uint8_t> words(const std::vector<std::uint32_t>& w) {
        std::vector<std::uint8_t> b(w.size() * 4);
        std::memcpy(b.data(), w.data(), b.size());
        return b;
    }

  private:
    void put32(std::uint32_t v) {
        for (unsigned i = 0; i < 4; ++i) bytes_.push_back(static_cast<std::uint8_t>(v >> 8 * i));
    }
    std::vector<std::uint8_t> bytes_;
};

// From a block of exactly that size: reading outside is an error of its own.
bool parse(const std::vector<std::uint8_t>& bytes, BootData& d) {
    const std::unique_ptr<std::uint8_t[]> copy{new std::uint8_t[bytes.size()]};
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    d = BootData{};
    return parse_multiboot2(copy.get(), HostPhys{0x9008}, d);
}

Info good() {
    Info i;
    i.text(1, "verbose").module(0x200000, 0x201234, "init").module(0x300000, 0x300010, "vmm");
    i.memory({{0, 0x9fc00, 1},
              {0x100000, 0x7ee0000, 1},
              {0x7fe0000, 0x8000, 3},
              {0xfeffc000, 0x4000, 2}});
    return i;
}

TEST(Multiboot2, GoodInformation) {
    std::vector<std::uint8_t> rsdp(36);
    for (unsigned i = 0; i < 36; ++i) rsdp[i] = static_cast<std::uint8_t>(i);
    BootData d;
    ASSERT_TRUE(parse(good().tag(15, rsdp).end().bytes(), d));
    EXPECT_STREQ(d.command_line, "verbose");
    ASSERT_EQ(d.module_count, 2u);
    EXPECT_STREQ(d.modules[0].name, "init");
    EXPECT_EQ(d.modules[0].begin.value(), 0x200000u);
    EXPECT_EQ(d.modules[0].end.value(), 0x201234u);
    ASSERT_EQ(d.memory.count, 4u);
    EXPECT_EQ(d.memory.entry_bytes, 24u);
    EXPECT_EQ(d.rsdp[35], 35);
    EXPECT_EQ(d.begin.value(), 0x9000u);
    EXPECT_EQ(d.end.value() % 4096, 0u);
}

TEST(Multiboot2, NewerAcpiTagWins) {
    BootData d;
    ASSERT_TRUE(parse(good()
                          .tag(14, std::vector<std::uint8_t>(20, 1))
                          .tag(15, std::vector<std::uint8_t>(36, 2))
                          .end()
                          .bytes(),
                      d));
    EXPECT_EQ(d.rsdp[0], 2);
    ASSERT_TRUE(parse(good()
                          .tag(15, std::vector<std::uint8_t>(36, 2))
                          .tag(14, std::vector<std::uint8_t>(20, 1))
                          .end()
                          .bytes(),
                      d));
    EXPECT_EQ(d.rsdp[0], 2);
    ASSERT_TRUE(parse(good().tag(14, std::vector<std::uint8_t>(20, 1)).end().bytes(), d));
    EXPECT_EQ(d.rsdp[19], 1);
    EXPECT_EQ(d.rsdp[20], 0);
}

TEST(Multiboot2, WithoutMemoryMapOrEndItIsRefused) {
    BootData d;
    EXPECT_FALSE(parse(Info{}.text(1, "x").end().bytes(), d));
    EXPECT_FALSE(parse(good().bytes(), d));
    EXPECT_FALSE(parse(good().memory({}).bytes(), d));
}

TEST(Multiboot2, LongTextIsCutAndTooManyModulesAreDropped) {
    BootData d;
    Info i;
    i.text(1, std::string(500, 'a')).memory({{0x100000, 0x100000, 1}});
    for (unsigned m = 0; m < BootData::max_modules + 5; ++m)
        i.module(m * 4096, m * 4096 + 1, std::string(100, 'n'));
    ASSERT_TRUE(parse(i.end().bytes(), d));
    EXPECT_EQ(std::strlen(d.command_line), sizeof(d.command_line) - 1);
    EXPECT_EQ(d.module_count, BootData::max_modules);
    EXPECT_EQ(d.modules_left_out, 5u);
    EXPECT_EQ(std::strlen(d.modules[0].name), sizeof(d.modules[0].name) - 1);
}

TEST(Multiboot2, OddMemoryMaps) {
    BootData d;
    // Longer entries than we know of, entries that are too short, too many of them.
    ASSERT_TRUE(parse(Info{}.memory({{0x100000, 0x10000, 1}}, 40).end().bytes(), d));
    EXPECT_EQ(d.memory.entry_bytes, 40u);
    EXPECT_EQ(d.memory.count, 1u);
    EXPECT_FALSE(parse(Info{}.memory({{0x100000, 0x10000, 1}}, 16).end().bytes(), d));
    EXPECT_FALSE(parse(Info{}.memory({{0x100000, 0x10000, 1}}, 0).end().bytes(), d));
    std::vector<Info::Ram> many(BootData::max_memory_entries, Info::Ram{0x100000, 0x10000, 1});
    EXPECT_TRUE(parse(Info{}.memory(many).end().bytes(), d));
    // A part of the list could miss what is reserved.
    many.push_back(many[0]);
    EXPECT_FALSE(parse(Info{}.memory(many).end().bytes(), d));
}

TEST(Multiboot2, HugeEntrySizeEnds) {
    std::vector<std::uint8_t> body = Info::words({0xffff'ffff, 0});
    body.resize(8 + 64);
    BootData d;
    EXPECT_FALSE(parse(Info{}.tag(6, body).end().bytes(), d));
}

TEST(Multiboot2, TagSizesThatLie) {
    for (const std::uint32_t size : {0u, 7u, 0x1000u, 0xffff'fff8u, 0xffff'ffffu}) {
        std::vector<std::uint8_t> b = good().end().bytes();
        std::memcpy(b.data() + 12, &size, 4);
        BootData d;
        EXPECT_FALSE(parse(b, d)) << size;
    }
    for (const std::uint32_t total : {0u, 15u, 0x10'0001u, ~0u}) {
        std::vector<std::uint8_t> b = good().end().bytes();
        std::memcpy(b.data(), &total, 4);
        BootData d;
        EXPECT_FALSE(parse(b, d)) << total;
    }
}

TEST(Multiboot2, TruncationAtEveryLength) {
    const std::vector<std::uint8_t> whole =
        good().tag(15, std::vector<std::uint8_t>(36, 2)).end().bytes();
    for (std::uint32_t size = 8; size < whole.size(); ++size) {
        std::vector<std::uint8_t> b{whole.begin(), whole.begin() + size};
        std::memcpy(b.data(), &size, 4);
        BootData d;
        EXPECT_FALSE(parse(b, d)) << size;
    }
}

TEST(Multiboot2, RandomDamageNeverReadsOutside) {
    std::mt19937 random{9};
    const std::vector<std::uint8_t> whole =
        good().tag(15, std::vector<std::uint8_t>(36, 2)).end().bytes();
    for (unsigned n = 0; n < 20000; ++n) {
        std::vector<std::uint8_t> b = whole;
        for (unsigned k = 0; k < 1 + n % 5; ++k)
            b[4 + random() % (b.size() - 4)] = static_cast<std::uint8_t>(random());
        BootData d;
        if (!parse(b, d)) continue;
        EXPECT_LE(d.module_count, BootData::max_modules);
        EXPECT_LE(d.memory.count, BootData::max_memory_entries);
    }
}

}  // namespace
}  // namespace margay

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "servers/init/definition.hpp"
#include "servers/init/manifest_keys.hpp"
#include "servers/init/saved/pack.hpp"
#include "servers/init/saved/reader.hpp"
#include "servers/init/saved/writer.hpp"

namespace margay::init::saved {
namespace {

using Page = std::vector<std::byte>;

Page page_of(unsigned (*byte)(unsigned)) {
    Page p(page_size);
    for (unsigned i = 0; i < page_size; ++i) p[i] = static_cast<std::byte>(byte(i));
    return p;
}

TEST(Pack, WhatIsPackedIsUnpacked) {
    std::mt19937 random{1};
    for (unsigned round = 0; round < 500; ++round) {
        // Of few different bytes, or many; in runs, or not.
        Page page(page_size);
        const unsigned kinds = 1 + random() % 256, run = 1 + random() % 300;
        unsigned value = 0;
        for (unsigned i = 0; i < page_size; ++i) {
            if (random() % run == 0) value = random() % kinds;
            page[i] = static_cast<std::byte>(value);
        }
        char packed[page_size];
        const unsigned length = pack(page.data(), packed);
        ASSERT_LT(length, page_size);
        if (length == 0) continue;
        Page back(page_size);
        ASSERT_TRUE(unpack(packed, length, back.data()));
        ASSERT_EQ(back, page);
        // A part of it is no page.
        ASSERT_FALSE(unpack(packed, random() % length, back.data()));
    }
}

TEST(Pack, RepeatsAreLeftOut) {
    char packed[page_size];
    const Page table = page_of([](unsigned i) { return i % 32 < 30 ? i % 32 : i / 256; });
    EXPECT_LT(pack(table.data(), packed), 700u);
    const Page noise = page_of([](unsigned i) { return i * i * 2654435761u >> 20; });
    const unsigned length = pack(noise.data(), packed);
    EXPECT_TRUE(length == 0 || length > 1000) << length;
}

TEST(Pack, HostileOnesAreRefused) {
    Page page(page_size);
    const auto is_refused = [&page](std::string_view packed) {
        return !unpack(packed.data(), packed.size(), page.data());
    };
    using namespace std::string_view_literals;
    EXPECT_TRUE(is_refused(""sv));
    EXPECT_TRUE(is_refused("\x05short"sv));
    EXPECT_TRUE(is_refused("\xff"sv));
    EXPECT_TRUE(is_refused("\xff\x01"sv));
    EXPECT_TRUE(is_refused("\xff\x01\x00"sv));       // before the page's begin
    EXPECT_TRUE(is_refused("\x00x\xff\x00\x00"sv));  // nowhere
    std::string too_long = "\x01xy";
    for (unsigned i = 0; i < 40; ++i) too_long += "\xff\x01\x00"sv;
    EXPECT_TRUE(is_refused(too_long));
}

// A block with pages of each kind.
class SavedTest : public testing::Test, protected Target {
  protected:
    static constexpr std::uint32_t before = 17, ram = 200, pages = before + ram;

    SavedTest() : block_(pages * page_size) {
        std::mt19937 random{7};
        for (std::uint32_t p = 0; p < pages; ++p) {
            std::byte* const page = block_.data() + p * page_size;
            switch (p < before ? 3 : random() % 6) {
            case 0: break;
            case 1: std::memset(page, 0x5a, page_size); break;
            case 2: std::memset(page, static_cast<int>(p), 100); break;
            case 3:
                for (unsigned i = 0; i < page_size; ++i) page[i] = static_cast<std::byte>(random());
                break;
            default: std::memcpy(page, block_.data() + random() % before * page_size, page_size);
            }
        }
        header_.snapshot = 77;
        header_.ram_bytes = ram * page_size;
        header_.tsc_khz = 1000;
    }
    Failure open(const Header&, std::uint32_t count, std::byte*& to) override {
        if (refuses_) {
            Failure f;
            f.set(FailureKind::no_memory, "no");
            return f;
        }
        EXPECT_EQ(count, pages);
        got_.assign(count * page_size, std::byte{0xee});
        to = got_.data();
        return {};
    }
    std::string written(std::uint32_t from = 0, unsigned step = 700) {
        const auto w = std::make_unique<Writer>();
        w->begin(header_, R"({"name":"x"})", block_.data(), pages, from);
        std::string s, part(step, 0);
        while (!w->is_done()) {
            const unsigned n = w->read(part.data(), step);
            EXPECT_TRUE(n != 0 || w->is_done());
            s.append(part, 0, n);
        }
        EXPECT_EQ(w->read(part.data(), step), 0u);
        return s;
    }
    Failure read(std::string_view s, std::size_t step = 999) {
        for (; !s.empty(); s.remove_prefix(std::min(step, s.size())))
            if (const Failure f = reader_.take(s.substr(0, step), *this); f.is_set()) return f;
        return {};
    }
    std::vector<std::size_t> record_begins(const std::string& s) {
        std::vector<std::size_t> begins;
        for (std::size_t at = 0; at < s.size(); at += head_bytes + record_at(&s[at]).length)
            begins.push_back(at);
        return begins;
    }
    void seal_again(std::string& s, std::size_t at) { seal(record_at(&s[at]), &s[at]); }

    Header header_;
    std::vector<std::byte> block_, got_;
    Reader reader_{before};
    bool refuses_ = false;
};

TEST_F(SavedTest, ComesBackAsItWas) {
    const std::string s = written();
    EXPECT_LT(s.size(), block_.size() / 2);
    for (const std::size_t step : {std::size_t{1}, std::size_t{999}, s.size()}) {
        reader_.begin();
        EXPECT_FALSE(read(s, step).is_set());
        EXPECT_TRUE(reader_.is_whole());
        EXPECT_EQ(got_, block_);
        EXPECT_EQ(reader_.header().snapshot, 77u);
    }
    EXPECT_EQ(written(0, 1), s);
}

TEST_F(SavedTest, SaysWhatTheGuestHasSeenOfTheProcessor) {
    header_.features = 0x1234;
    ASSERT_FALSE(read(written()).is_set());
    EXPECT_EQ(reader_.header().features, 0x1234u);
}

TEST_F(SavedTest, FilesOfOlderBuildsSayNothingOfIt) {
    header_.features = 0x1234;
    std::string s = written();
    Record first = record_at(s.data());
    s.erase(head_bytes + short_header_bytes, sizeof(Header) - short_header_bytes);
    first.length = short_header_bytes;
    seal(first, s.data());
    // The end has the sum of the header.
    const std::size_t end = record_begins(s).back();
    s.replace(end + head_bytes, 4, s, 12, 4);
    seal_again(s, end);
    const Failure f = read(s);
    ASSERT_FALSE(f.is_set()) << f.text;
    EXPECT_TRUE(reader_.is_whole());
    EXPECT_EQ(reader_.header().features, 0u);
    EXPECT_EQ(got_, block_);
}

TEST_F(SavedTest, GoesOnFromAnyPage) {
    const std::string s = written();
    for (const std::size_t begin : record_begins(s)) {
        const Record r = record_at(&s[begin]);
        if (r.page == 0 || r.type == type::end) continue;
        reader_.begin();
        // Broken in the midst of the record.
        ASSERT_FALSE(read(s.substr(0, begin + 9)).is_set());
        ASSERT_EQ(reader_.page(), r.page);
        reader_.go_on();
        const Failure f = read(written(r.page));
        ASSERT_FALSE(f.is_set()) << f.text;
        ASSERT_TRUE(reader_.is_whole());
        ASSERT_EQ(got_, block_);
    }
}

TEST_F(SavedTest, GoesOnBeforeTheFirstPage) {
    const std::string s = written();
    ASSERT_FALSE(read(s.substr(0, 90)).is_set());
    reader_.go_on();
    EXPECT_FALSE(read(s).is_set());
    EXPECT_TRUE(reader_.is_whole());
}

TEST_F(SavedTest, EveryChangedBitIsFound) {
    const std::string s = written();
    std::mt19937 random{3};
    for (unsigned i = 0; i < 100; ++i) {
        std::string changed = s;
        char& at = changed[random() % 400 + (i % 2 != 0 ? random() % (s.size() - 400) : 0)];
        at = static_cast<char>(at ^ 1 << random() % 8);
        reader_.begin();
        EXPECT_TRUE(read(changed).is_set() || !reader_.is_whole());
    }
}

TEST_F(SavedTest, CutOffAndContinuedOnesAreNotWhole) {
    const std::string s = written();
    ASSERT_FALSE(read(s.substr(0, s.size() - 1)).is_set());
    EXPECT_FALSE(reader_.is_whole());
    reader_.begin();
    EXPECT_TRUE(read(s + "x", 1 << 20).is_set());
    // A record is missing, or comes twice, or the end too early.
    const auto begins = record_begins(s);
    for (std::size_t i = 3; i + 1 < begins.size(); i += 17) {
        reader_.begin();
        EXPECT_TRUE(read(s.substr(0, begins[i]) + s.substr(begins[i + 1])).is_set());
        reader_.begin();
        EXPECT_TRUE(read(s.substr(0, begins[i + 1]) + s.substr(begins[i])).is_set());
        reader_.begin();
        EXPECT_TRUE(read(s.substr(0, begins[i]) + s.substr(begins.back())).is_set());
    }
}

TEST_F(SavedTest, SoundRecordsThatMakeNoSenseAreRefused) {
    const std::string s = written();
    const auto begins = record_begins(s);
    const auto refused = [&](std::size_t record, unsigned offset, std::uint32_t value) {
        std::string changed = s;
        std::memcpy(&changed[record + offset], &value, sizeof(value));
        // The length stays.
        changed[record + 2] = s[record + 2], changed[record + 3] = s[record + 3];
        seal_again(changed, record);
        reader_.begin();
        return read(changed).is_set();
    };
    for (std::size_t i = 2; i < begins.size(); i += i + 9 < begins.size() ? 8 : 1) {
        EXPECT_TRUE(refused(begins[i], 4, 0xffff'ffff));
        if (i + 1 < begins.size()) {
            EXPECT_TRUE(refused(begins[i], 8, 0));
            EXPECT_TRUE(refused(begins[i], 8, 0xffff'ffff));
            EXPECT_TRUE(refused(begins[i], 8, max_pages + 1));
            EXPECT_TRUE(refused(begins[i], 0, 'x'));
        }
        if (record_at(&s[begins[i]]).type == type::same) {
            EXPECT_TRUE(refused(begins[i], head_bytes, record_at(&s[begins[i]]).page));
        }
    }
}

TEST_F(SavedTest, OtherVersionsAreRefusedWithAReason) {
    const auto said = [this](const Header& h) {
        std::string s(head_bytes + sizeof(h), 0);
        std::memcpy(&s[head_bytes], &h, sizeof(h));
        seal({type::header, sizeof(h), 0, 0}, s.data());
        reader_.begin();
        return std::string{read(s).text};
    };
    Header h = header_;
    h.format = 2;
    EXPECT_EQ(said(h), "it has format 2, this node reads format 1");
    h = header_, h.abi = abi_version + 1;
    EXPECT_NE(said(h).find("a later build saved it"), std::string::npos);
    h = header_, h.abi = oldest_abi - 1;
    EXPECT_NE(said(h).find("too old"), std::string::npos);
    h = header_, h.magic[0] = 'm';
    EXPECT_EQ(said(h), "this is no saved VM");
    for (const std::uint64_t bytes :
         {std::uint64_t{0}, std::uint64_t{4097}, ~std::uint64_t{0xfff}}) {
        h = header_, h.ram_bytes = bytes;
        EXPECT_EQ(said(h), "its header makes no sense");
    }
    refuses_ = true;
    EXPECT_EQ(said(header_), "no");
    EXPECT_FALSE(reader_.has_header());
}

}  // namespace
}  // namespace margay::init::saved

namespace margay::init {
namespace {

TEST(Definition, IsReadBackAsItWas) {
    constexpr std::string_view text = R"({"vms": [{"name": "a", "kernel": "k", "append":
        "quiet \"x\\y\" \u00e9", "memory_mib": 1048576, "standby": true, "console": "detached",
        "vmm_fallback": "old", "hang_ms": 77}]})";
    static VmConfig room[2][1];
    static Manifest manifest, again;
    manifest.vms = room[0];
    again.vms = room[1];
    ASSERT_STREQ(parse_manifest(text, manifest).what, nullptr);
    char written[4096];
    const unsigned length = write_definition(manifest.vms[0], written, sizeof(written));
    ASSERT_NE(length, 0u);
    const std::string wrapped = "{\"vms\": [" + std::string{written, length} + "]}";
    ASSERT_EQ(parse_manifest(wrapped, again).what, nullptr) << wrapped;
    for (const ManifestKey& k : vm_keys) {
        const auto* const one = reinterpret_cast<const char*>(&manifest.vms[0]) + k.offset;
        const auto* const other = reinterpret_cast<const char*>(&again.vms[0]) + k.offset;
        EXPECT_EQ(std::memcmp(one, other, k.bytes), 0) << k.name << wrapped;
    }
    // Without room nothing of use.
    EXPECT_EQ(write_definition(manifest.vms[0], written, length - 1), 0u);
    EXPECT_EQ(std::string(written, 10), wrapped.substr(9, 10));
}

}  // namespace
}  // namespace margay::init

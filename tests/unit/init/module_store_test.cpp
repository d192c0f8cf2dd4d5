#include "servers/init/control/module_store.hpp"

#include <gtest/gtest.h>

#include "proto/frame.hpp"
#include "tests/unit/init/fake_module_room.hpp"

namespace margay::init {
namespace {

class ModuleStoreTest : public testing::Test {
  protected:
    Failure put(std::string_view name, const std::string& content, bool replaces = false) {
        return store_.put(name, content.size(), frame::crc_of(content), replaces, now_, arrival_);
    }
    Failure send(std::uint64_t offset, std::string_view bytes) {
        return store_.take(arrival_.transfer, offset, bytes, now_, arrival_);
    }
    // The whole of it, in two pieces.
    void arrive(std::string_view name, const std::string& content, bool replaces = false) {
        ASSERT_FALSE(put(name, content, replaces).is_set());
        ASSERT_FALSE(send(0, content.substr(0, 3)).is_set());
        ASSERT_FALSE(send(3, content.substr(3)).is_set());
        ASSERT_TRUE(arrival_.is_whole);
    }

    FakeModuleRoom room_;
    ModuleStore store_{room_, 1};
    std::uint64_t now_ = 1000;
    Arrival arrival_;
};

TEST_F(ModuleStoreTest, ArrivesInOrder) {
    const std::string content = "a kernel";
    EXPECT_FALSE(put("k", content).is_set());
    EXPECT_EQ(arrival_.next, 0u);
    EXPECT_FALSE(send(0, "a ker").is_set());
    EXPECT_EQ(arrival_.next, 5u);
    EXPECT_FALSE(arrival_.is_whole);
    EXPECT_TRUE(room_.published.empty());
    EXPECT_FALSE(send(5, "nel").is_set());
    EXPECT_TRUE(arrival_.is_whole);
    EXPECT_EQ(room_.published[0], "k");
    EXPECT_EQ(room_.content(0), content);
}

TEST_F(ModuleStoreTest, PutAgainGoesOn) {
    const std::string content = "something";
    (void)put("m", content);
    (void)send(0, "some");
    EXPECT_FALSE(put("m", content).is_set());
    EXPECT_EQ(arrival_.next, 4u);
    EXPECT_FALSE(send(4, "thing").is_set());
    EXPECT_TRUE(arrival_.is_whole);
    // Once more: it is there.
    EXPECT_FALSE(put("m", content).is_set());
    EXPECT_TRUE(arrival_.is_whole);
    EXPECT_EQ(arrival_.next, content.size());
}

TEST_F(ModuleStoreTest, AnotherOfThatNameBeginsAnew) {
    (void)put("m", "something");
    const Arrival first = arrival_;
    (void)send(0, "some");
    EXPECT_FALSE(put("m", "something else").is_set());
    EXPECT_EQ(arrival_.next, 0u);
    EXPECT_EQ(room_.memory.size(), 1u);
    Arrival a;
    EXPECT_EQ(store_.take(first.transfer, 4, "thing", now_, a).kind, FailureKind::not_found);
}

TEST_F(ModuleStoreTest, RepeatedPiecesDoNoHarm) {
    const std::string content = "0123456789";
    (void)put("m", content);
    EXPECT_FALSE(send(0, "01234").is_set());
    EXPECT_FALSE(send(0, "01234").is_set());
    EXPECT_EQ(arrival_.next, 5u);
    EXPECT_FALSE(send(3, "3456").is_set());
    EXPECT_EQ(arrival_.next, 7u);
    EXPECT_FALSE(send(2, "").is_set());
    EXPECT_FALSE(send(7, "789").is_set());
    EXPECT_TRUE(arrival_.is_whole);
    EXPECT_EQ(room_.content(0), content);
}

TEST_F(ModuleStoreTest, WrongPiecesAreRefused) {
    (void)put("m", "0123456789");
    const Arrival a = arrival_;
    EXPECT_EQ(send(1, "1").kind, FailureKind::wrong_state);  // a gap
    arrival_ = a;
    EXPECT_EQ(send(0, "0123456789x").kind, FailureKind::usage);
    arrival_ = a;
    EXPECT_EQ(send(11, "").kind, FailureKind::usage);
    arrival_ = a;
    EXPECT_EQ(send(~0ull, "x").kind, FailureKind::usage);
    arrival_.transfer = a.transfer + 1;
    EXPECT_EQ(send(0, "0").kind, FailureKind::not_found);
    arrival_.transfer = 0;
    EXPECT_EQ(send(0, "0").kind, FailureKind::not_found);
    // Nothing of that was taken.
    arrival_ = a;
    EXPECT_FALSE(send(0, "0123456789").is_set());
    EXPECT_TRUE(arrival_.is_whole);
}

TEST_F(ModuleStoreTest, DamagedOnesAreGone) {
    (void)put("m", "0123456789");
    const Failure f = send(0, "0123456788");
    EXPECT_EQ(f.kind, FailureKind::failed);
    EXPECT_NE(std::string_view{f.text}.find("damaged"), std::string_view::npos);
    EXPECT_TRUE(room_.memory.empty());
    EXPECT_TRUE(room_.published.empty());
    arrive("m", "0123456789");
}

TEST_F(ModuleStoreTest, NamesAndSizesAreChecked) {
    for (const char* name : {"", "a b", "../x", "123456789012345678901234", "\x80", "a\nb"})
        EXPECT_EQ(put(name, "x").kind, FailureKind::usage) << name;
    EXPECT_EQ(put("m", "").kind, FailureKind::usage);
    room_.most = 10;
    EXPECT_EQ(put("m", "12345678901").kind, FailureKind::no_memory);
    EXPECT_TRUE(room_.memory.empty());
    EXPECT_FALSE(put("12345678901234567890123", "x").is_set());
}

TEST_F(ModuleStoreTest, ThereIsRoomForSixteen) {
    for (unsigned i = 0; i < max_put_modules; ++i)
        EXPECT_FALSE(put("m" + std::to_string(i), "x").is_set());
    EXPECT_EQ(put("more", "x").kind, FailureKind::no_memory);
    EXPECT_FALSE(store_.remove("m7").is_set());
    EXPECT_FALSE(put("more", "x").is_set());
}

TEST_F(ModuleStoreTest, WhatIsThereIsReplacedOnlyOnDemandAndWhenUnused) {
    EXPECT_EQ(put("vmm", "mine").kind, FailureKind::wrong_state);
    arrive("vmm", "mine!", true);
    EXPECT_EQ(put("vmm", "another").kind, FailureKind::wrong_state);
    room_.used = "vmm";
    const Failure f = put("vmm", "another", true);
    EXPECT_EQ(f.kind, FailureKind::wrong_state);
    EXPECT_NE(std::string_view{f.text}.find("linux"), std::string_view::npos);
    room_.used.clear();
    arrive("vmm", "another", true);
    EXPECT_EQ(room_.published.size(), 1u);
    EXPECT_EQ(room_.memory.size(), 1u);
    EXPECT_EQ(room_.content(room_.published.begin()->first), "another");
}

TEST_F(ModuleStoreTest, TheOldOneServesUntilTheNewOneIsWhole) {
    arrive("m", "first one");
    EXPECT_FALSE(put("m", "second one", true).is_set());
    (void)send(0, "second");
    EXPECT_EQ(room_.published.size(), 1u);
    EXPECT_EQ(room_.memory.size(), 2u);
    // Somebody begins to use it meanwhile: it stays.
    room_.used = "m";
    EXPECT_EQ(send(6, " one").kind, FailureKind::wrong_state);
    EXPECT_EQ(room_.memory.size(), 1u);
    EXPECT_EQ(room_.content(0), "first one");
}

TEST_F(ModuleStoreTest, RemovedWhenUnused) {
    EXPECT_EQ(store_.remove("m").kind, FailureKind::not_found);
    EXPECT_EQ(store_.remove("vmm").kind, FailureKind::wrong_state);
    arrive("m", "content");
    room_.used = "m";
    EXPECT_EQ(store_.remove("m").kind, FailureKind::wrong_state);
    room_.used.clear();
    EXPECT_FALSE(store_.remove("m").is_set());
    EXPECT_TRUE(room_.memory.empty());
    // One that is still to come as well.
    (void)put("m", "content");
    EXPECT_FALSE(store_.remove("m").is_set());
    EXPECT_TRUE(room_.memory.empty());
}

TEST_F(ModuleStoreTest, WhoeverHasGoneGivesTheMemoryBack) {
    EXPECT_EQ(store_.next_look(), ~0ull);
    arrive("whole", "content");
    EXPECT_EQ(store_.next_look(), ~0ull);
    (void)put("m", "content");
    EXPECT_EQ(store_.next_look(), now_ + ModuleStore::patience_ms);
    now_ += ModuleStore::patience_ms - 1;
    (void)send(0, "con");
    now_ += ModuleStore::patience_ms - 1;
    store_.look(now_);
    EXPECT_EQ(room_.memory.size(), 2u);
    store_.look(++now_);
    EXPECT_EQ(room_.memory.size(), 1u);
    EXPECT_EQ(room_.published.size(), 1u);
}

}  // namespace
}  // namespace margay::init

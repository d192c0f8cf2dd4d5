#include "servers/init/function_windows.hpp"

#include <gtest/gtest.h>

namespace margay::init {
namespace {

using Fit = FunctionWindows::Fit;
constexpr std::uint64_t kib = 1 << 10, mib = 1 << 20, gib = 1 << 30;

TEST(FunctionWindows, WithoutWideBarsThereIsNone) {
    FunctionWindows w;
    w.add(128 * kib, false);
    EXPECT_EQ(w.place(256 * mib), Fit::ok);
    EXPECT_EQ(w.bytes(), 0u);
}

TEST(FunctionWindows, APowerOfTwoAboveRam) {
    FunctionWindows w;
    w.add(16 * kib, true);
    EXPECT_EQ(w.place(256 * mib), Fit::ok);
    EXPECT_EQ(w.base(), 4 * gib);
    EXPECT_EQ(w.bytes(), 2 * mib) << "some room";
    w.add(8 * gib, true);
    EXPECT_EQ(w.place(5 * gib), Fit::ok);
    EXPECT_EQ(w.base(), 16 * gib) << "RAM ends at 6 GiB, and 16 GiB are a multiple";
    EXPECT_EQ(w.bytes(), 16 * gib);
    EXPECT_EQ(w.place(3 * gib), Fit::ok);
    EXPECT_EQ(w.base(), 16 * gib);
}

TEST(FunctionWindows, BelowFourGib) {
    FunctionWindows w;
    for (const std::uint64_t size :
         {512 * mib, 256 * mib, 128 * mib, 64 * mib, 32 * mib, 8 * mib, 4 * mib})
        w.add(size, false);
    EXPECT_EQ(w.place(256 * mib), Fit::ok) << "all of it";
    w.add(4 * kib, false);
    EXPECT_EQ(w.place(256 * mib), Fit::low);
    EXPECT_EQ(w.narrow(), 1004 * mib + 4 * kib);
}

TEST(FunctionWindows, WithinItsPhysicalAddresses) {
    FunctionWindows w;
    w.add(256 * gib, true);
    EXPECT_EQ(w.place(256 * mib), Fit::ok);
    w.add(4 * kib, true);
    EXPECT_EQ(w.place(256 * mib), Fit::ok);
    EXPECT_EQ(w.base(), 512 * gib);
    EXPECT_EQ(w.place(512 * gib), Fit::high) << "RAM is in the way";
    w.add(512 * gib, true);
    EXPECT_EQ(w.place(256 * mib), Fit::high);
    w.add(~0ull, true);
    EXPECT_EQ(w.wide(), ~0ull);
    EXPECT_EQ(w.place(256 * mib), Fit::high);
}

}  // namespace
}  // namespace margay::init

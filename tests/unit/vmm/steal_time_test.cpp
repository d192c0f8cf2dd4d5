#include "servers/vmm/cpu/kvm_clock.hpp"
#include "servers/vmm/cpu/steal_time.hpp"
#include "servers/vmm/vm_layout.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace margay::vmm {
namespace {

constexpr std::uint64_t at = 0x2000, enable = 1;

class StealTimeTest : public ::testing::Test {
  protected:
    StealTimeTest() { KvmClock::reset(own.slot.live, 2'000'000); }

    std::uint64_t steal() const { return memory.at<std::uint64_t>(at); }
    std::uint32_t version() const { return memory.at<std::uint32_t>(at + 8); }
    std::uint8_t mark() const { return memory.at<std::uint8_t>(at + 16); }
    void put(std::size_t offset, std::uint64_t value, std::size_t bytes) {
        std::memcpy(memory.bytes.data() + at + offset, &value, bytes);
    }
    bool untouched() const {
        return std::ranges::all_of(memory.bytes, [](std::byte b) { return b == std::byte{0}; });
    }

    test::OwnSlot<KvmClockState> own;
    TimeBase time = TimeBase::make(2'000'000);
    test::FakeMemory memory;
    StealTime st{own.journaled(), time, memory};
};

TEST_F(StealTimeTest, reserved_bits_are_refused_and_change_nothing) {
    for (unsigned bit = 1; bit <= 5; ++bit) {
        EXPECT_EQ(st.write(at | enable | 1U << bit), MsrResult::fault) << bit;
        EXPECT_EQ(st.write(1U << bit), MsrResult::fault) << bit;
    }
    EXPECT_EQ(st.value(), 0U);
    EXPECT_FALSE(st.is_enabled());
    EXPECT_EQ(st.write(at + 64 + enable), MsrResult::done);
    EXPECT_EQ(st.value(), at + 64 + enable);
    EXPECT_EQ(st.write(0), MsrResult::done);
    EXPECT_FALSE(st.is_enabled());
}

TEST_F(StealTimeTest, tells_the_time_since_it_was_asked_for) {
    ASSERT_EQ(st.write(at | enable), MsrResult::done);
    st.update(5'000'000);  // what was before does not count
    EXPECT_EQ(steal(), 0U);
    EXPECT_EQ(version(), 0U);
    st.update(5'002'000);
    EXPECT_EQ(steal(), 1000U);  // at 2 GHz
    EXPECT_EQ(version(), 2U);
    st.update(5'002'000);
    EXPECT_EQ(version(), 2U) << "nothing new";
    st.update(5'002'500);
    EXPECT_EQ(steal(), 1250U);
    EXPECT_EQ(version(), 4U);
    // Another vCPU of the kernel's: its count begins anew.
    st.begin_anew();
    st.update(10);
    EXPECT_EQ(steal(), 1250U);
    st.update(30);
    EXPECT_EQ(steal(), 1260U);
    EXPECT_EQ(memory.at<std::uint32_t>(at + 12), 0U) << "flags";
    EXPECT_EQ(mark(), 0U);
}

// What the guest finds there is odd while it changes: seen by a watcher of the memory between the stores.
TEST_F(StealTimeTest, version_is_odd_while_the_time_changes) {
    ASSERT_EQ(st.write(at | enable), MsrResult::done);
    st.update(0);
    std::atomic<bool> end{false};
    std::atomic<unsigned> torn{0}, reads{0};
    std::thread reader{[&] {
        auto* const page = memory.bytes.data() + at;
        auto& version = *reinterpret_cast<std::uint32_t*>(page + 8);
        auto& value = *reinterpret_cast<std::uint64_t*>(page);
        while (!end) {
            const auto before = __atomic_load_n(&version, __ATOMIC_ACQUIRE);
            const auto seen = __atomic_load_n(&value, __ATOMIC_ACQUIRE);
            // Each update adds 1 ns and 2 to the version.
            if (before % 2 == 0 && before == __atomic_load_n(&version, __ATOMIC_ACQUIRE)) {
                ++reads;
                torn += seen != before / 2 ? 1 : 0;
            }
        }
    }};
    std::uint64_t waited = 0;
    while (reads < 1000 || waited < 200'000) {
        st.update(waited += 2);
    }
    end = true;
    reader.join();
    EXPECT_EQ(torn, 0U);
}

TEST_F(StealTimeTest, goes_on_from_what_the_structure_says) {
    put(0, 7777, 8);
    put(8, 0xabcd'0007, 4);  // odd: whoever wrote it last did not end
    put(16, 3, 1);
    ASSERT_EQ(st.write(at | enable), MsrResult::done);
    EXPECT_EQ(mark(), 0U) << "whoever writes the MSR runs";
    st.update(100);
    st.update(300);
    EXPECT_EQ(steal(), 7877U);
    EXPECT_EQ(version(), 0xabcd'0008U);
    // Off, and on elsewhere: the old place is left alone.
    ASSERT_EQ(st.write(0), MsrResult::done);
    st.update(900);
    st.set_mark();
    EXPECT_EQ(steal(), 7877U);
    EXPECT_EQ(mark(), 0U);
    ASSERT_EQ(st.write((at + 64) | enable), MsrResult::done);
    st.update(1000);
    st.update(1200);
    EXPECT_EQ(memory.at<std::uint64_t>(at + 64), 100U);
    EXPECT_EQ(steal(), 7877U);
}

TEST_F(StealTimeTest, flush_is_reported_once_and_only_if_asked_for) {
    ASSERT_EQ(st.write(at | enable), MsrResult::done);
    EXPECT_FALSE(st.clear_mark());
    st.set_mark();
    EXPECT_EQ(mark(), 1U);
    EXPECT_FALSE(st.clear_mark());
    EXPECT_EQ(mark(), 0U);
    st.set_mark();
    put(16, 3, 1);  // another vCPU asks
    st.set_mark();
    EXPECT_EQ(mark(), 3U) << "it is not forgotten";
    EXPECT_TRUE(st.clear_mark());
    EXPECT_EQ(mark(), 0U);
    EXPECT_FALSE(st.clear_mark());
    put(16, 0xfc, 1);  // nothing that anybody knows
    EXPECT_FALSE(st.clear_mark());
    EXPECT_EQ(mark(), 0U);
}

// Another vCPU asks by compare-and-exchange while the mark comes and goes: each request that it placed is reported.
TEST_F(StealTimeTest, no_request_is_lost) {
    ASSERT_EQ(st.write(at | enable), MsrResult::done);
    auto& byte = *reinterpret_cast<std::uint8_t*>(memory.bytes.data() + at + 16);
    std::atomic<bool> end{false};
    std::atomic<unsigned> asked{0}, done{0};
    std::thread other{[&] {
        while (!end) {
            std::uint8_t state = 1;
            if (done == asked && __atomic_compare_exchange_n(&byte, &state, std::uint8_t{3}, false,
                                                             __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
                ++asked;
            } else {
                std::this_thread::yield();
            }
        }
    }};
    constexpr unsigned enough = 2000, too_long = 1'000'000;
    for (unsigned waits = 0; asked < enough && waits < too_long;) {
        st.set_mark();
        std::this_thread::yield();
        const bool is_asked = st.clear_mark();
        done += is_asked ? 1 : 0;
        waits = is_asked || asked == done ? 0 : waits + 1;
    }
    end = true;
    other.join();
    done += st.clear_mark() ? 1 : 0;
    EXPECT_GE(asked, enough);
    EXPECT_EQ(asked, done);
}

TEST_F(StealTimeTest, addresses_outside_ram_are_survived) {
    for (const auto address : {0xffc0ULL + 64, 0x1'0000ULL, ~0x3fULL, 0x8000'0000'0000'0000ULL,
                               0xffff'ffff'ffff'ffc0ULL}) {
        ASSERT_EQ(st.write(address | enable), MsrResult::done);
        st.update(0);
        st.update(1000);
        st.set_mark();
        EXPECT_FALSE(st.clear_mark());
        EXPECT_EQ(st.value(), address | enable);
        ASSERT_TRUE(untouched());
    }
    // The last place that there is.
    ASSERT_EQ(st.write(0xffc0 | enable), MsrResult::done);
    st.update(0);
    st.update(2000);
    EXPECT_EQ(memory.at<std::uint64_t>(0xffc0), 1000U);
    // Without the enabling bit it is an address of nothing.
    std::ranges::fill(memory.bytes, std::byte{0});
    ASSERT_EQ(st.write(at), MsrResult::done);
    st.update(0);
    st.update(4000);
    st.set_mark();
    EXPECT_TRUE(untouched());
}

// A VMM dies in the exit that tells the time: its successor begins from before, and the guest's time never goes back.
TEST_F(StealTimeTest, telling_it_again_gives_no_less) {
    ASSERT_EQ(st.write(at | enable), MsrResult::done);
    st.update(0);
    st.update(2000);
    own.transaction.begin(2);
    const auto before = own.slot.live;
    st.update(4000);
    EXPECT_EQ(steal(), 2000U);
    own.slot.live = own.slot.saved;
    ASSERT_EQ(own.slot.live.steal.seen, before.steal.seen);
    put(8, version() - 1, 4);  // it had not come to the end
    st.update(4600);
    EXPECT_EQ(steal(), 2300U);
    EXPECT_EQ(version(), 4U);
}

// A build that does not know the marks would leave them: it must not take a VM in which there may be some.
TEST(StealTime, older_builds_take_vms_with_one_vcpu_only) {
    const auto oldest = [](const Layout& layout) {
        const auto clock = std::ranges::find_if(layout.sections, [](const SectionEntry& s) {
            return std::string_view{s.name} == "kvm_clock";
        });
        return clock == layout.sections.end() ? 0 : clock->oldest_reader;
    };
    EXPECT_EQ(oldest(vm_layout()), 1U);
    EXPECT_EQ(oldest(cpu_layout()), 2U);
}

}  // namespace
}  // namespace margay::vmm

// Hypercalls: who gets what, and what a guest gets that asks for something else.
#include "servers/vmm/cpu/kvm_calls.hpp"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace margay::vmm {
namespace {

constexpr std::uint64_t kick_cpu = 5, send_ipi = 10;
constexpr std::uint64_t invalid = static_cast<std::uint64_t>(-22);
constexpr std::uint64_t not_permitted = static_cast<std::uint64_t>(-1);

struct Targets final : KvmCallTargets {
    bool send_to(std::uint32_t apic_id, const ApicMessage& message) override {
        if (apic_id > last) {
            return false;
        }
        sent.emplace_back(apic_id, message.vector);
        mode = message.mode;
        EXPECT_FALSE(message.level);
        return true;
    }
    bool kick(std::uint32_t apic_id) override {
        kicked.push_back(apic_id);
        return apic_id <= last;
    }

    std::uint32_t last = 200;
    DeliveryMode mode{};
    std::vector<std::pair<std::uint32_t, unsigned>> sent;
    std::vector<std::uint32_t> kicked;
};

using Sent = decltype(Targets::sent);

TEST(KvmCalls, Kick) {
    Targets t;
    EXPECT_EQ(answer_kvm_call({kick_cpu, {0, 7, 0, 0}, true, 0}, t), 0U);
    EXPECT_EQ(answer_kvm_call({kick_cpu, {0, 1'000, 0, 0}, true, 0}, t), 0U);
    EXPECT_EQ(answer_kvm_call({kick_cpu, {0, 1ULL << 32 | 8, 0, 0}, true, 0}, t), 0U);  // nobody
    EXPECT_EQ(t.kicked, (std::vector<std::uint32_t>{7, 1'000}));
}

TEST(KvmCalls, IpiToABitmap) {
    Targets t;
    EXPECT_EQ(answer_kvm_call({send_ipi, {1ULL << 63 | 1, 2, 10, 0x40f1}, true, 0}, t), 3U);
    EXPECT_EQ(t.sent, (Sent{{10, 0xf1}, {73, 0xf1}, {75, 0xf1}}));
    EXPECT_EQ(t.mode, DeliveryMode::fixed);
}

TEST(KvmCalls, IpiOf32BitCode) {
    Targets t;
    // What is above 32 bits is not there, and the second half begins at 32.
    const KvmCall call{1ULL << 32 | send_ipi,
                       {0xffff'ffff'0000'0001, 0xffff'ffff'0000'0001, 5ULL << 32 | 4, 0xf2},
                       false,
                       0};
    EXPECT_EQ(answer_kvm_call(call, t), 2U);
    EXPECT_EQ(t.sent, (Sent{{4, 0xf2}, {36, 0xf2}}));
}

TEST(KvmCalls, NonMaskable) {
    Targets t;
    EXPECT_EQ(answer_kvm_call({send_ipi, {6, 0, 0, 0x402}, true, 0}, t), 2U);
    EXPECT_EQ(t.mode, DeliveryMode::nmi);
}

TEST(KvmCalls, NobodyIsThere) {
    Targets t;
    EXPECT_EQ(answer_kvm_call({send_ipi, {~0ULL, ~0ULL, 201, 0xf1}, true, 0}, t), 0U);
    EXPECT_EQ(answer_kvm_call({send_ipi, {~0ULL, ~0ULL, ~0ULL, 0xf1}, true, 0}, t), 0U);
    EXPECT_EQ(answer_kvm_call({send_ipi, {1, 0, 1ULL << 32, 0xf1}, true, 0}, t), 0U);
    EXPECT_EQ(answer_kvm_call({send_ipi, {0, 0, 0, 0xf1}, true, 0}, t), 0U);
    EXPECT_TRUE(t.sent.empty());
}

TEST(KvmCalls, NoOtherModes) {
    Targets t;
    for (const std::uint64_t icr : {0x1f1, 0x2f1, 0x3f1, 0x500, 0x600, 0x7f1}) {
        EXPECT_EQ(answer_kvm_call({send_ipi, {1, 0, 0, icr}, true, 0}, t), invalid) << icr;
    }
    // A destination, a shorthand, a logical destination, a level.
    for (const std::uint64_t bit : {1ULL << 32, 1ULL << 18, 1ULL << 11, 1ULL << 15}) {
        EXPECT_EQ(answer_kvm_call({send_ipi, {1, 0, 0, bit | 0xf1}, true, 0}, t), invalid) << bit;
    }
    EXPECT_TRUE(t.sent.empty());
}

TEST(KvmCalls, NotForPrograms) {
    Targets t;
    EXPECT_EQ(answer_kvm_call({send_ipi, {1, 0, 0, 0xf1}, true, 3}, t), not_permitted);
    EXPECT_EQ(answer_kvm_call({kick_cpu, {0, 1, 0, 0}, true, 3}, t), not_permitted);
    EXPECT_TRUE(t.sent.empty() && t.kicked.empty());
}

TEST(KvmCalls, OthersDoNotExist) {
    Targets t;
    for (const std::uint64_t number : {0, 1, 4, 6, 9, 11, 12}) {
        EXPECT_FALSE(is_kvm_call(number));
        EXPECT_EQ(answer_kvm_call({number, {1, 1, 1, 1}, true, 0}, t), kvm_no_such_call) << number;
    }
    EXPECT_TRUE(is_kvm_call(kick_cpu) && is_kvm_call(send_ipi));
}

}  // namespace
}  // namespace margay::vmm

#include "servers/vmm/cpu/kvm_calls.hpp"

#include <bit>

namespace margay::vmm {

namespace {

// Linux include/uapi/linux/kvm_para.h.
constexpr std::uint64_t call_kick_cpu = 5, call_send_ipi = 10;
constexpr std::uint64_t not_permitted = static_cast<std::uint64_t>(-1);
constexpr std::uint64_t invalid = static_cast<std::uint64_t>(-22);

// RBX and RCX: a bitmap of APIC ids from RDX on; RSI: the interrupt command register's lower half, without a
// destination. The answer is to how many it went.
std::uint64_t send_ipi(const KvmCall& call, KvmCallTargets& targets) {
    constexpr std::uint64_t vector_and_mode = 0x7ff, level_assert = 1U << 14;
    const auto icr = call.argument[3];
    const ApicMessage message{0, static_cast<std::uint8_t>(icr),
                              static_cast<DeliveryMode>(icr >> 8 & 7), false, false};
    if ((icr & ~(vector_and_mode | level_assert)) != 0 ||
        (message.mode != DeliveryMode::fixed && message.mode != DeliveryMode::nmi)) {
        return invalid;
    }
    const unsigned width = call.is_64_bit ? 64 : 32;
    const auto first = call.argument[2];
    std::uint64_t count = 0;
    for (unsigned half = 0; half < 2; ++half) {
        for (auto left = call.argument[half]; left != 0; left &= left - 1) {
            const auto id = first + half * width + static_cast<unsigned>(std::countr_zero(left));
            // Ids beyond 32 bits, and sums that wrap around, are nobody's.
            if (id >= first && id <= UINT32_MAX) {
                count += targets.send_to(static_cast<std::uint32_t>(id), message) ? 1 : 0;
            }
        }
    }
    return count;
}

}  // namespace

std::uint64_t answer_kvm_call(const KvmCall& from_guest, KvmCallTargets& targets) {
    auto call = from_guest;
    if (!call.is_64_bit) {
        call.number = static_cast<std::uint32_t>(call.number);
        for (auto& argument : call.argument) {
            argument = static_cast<std::uint32_t>(argument);
        }
    }
    if (call.cpl != 0) {
        return not_permitted;
    }
    switch (call.number) {
    case call_kick_cpu:
        // RCX: the APIC id. Who names nobody wakes nobody.
        if (call.argument[1] <= UINT32_MAX) {
            static_cast<void>(targets.kick(static_cast<std::uint32_t>(call.argument[1])));
        }
        return 0;
    case call_send_ipi: return send_ipi(call, targets);
    default: return kvm_no_such_call;
    }
}

}  // namespace margay::vmm

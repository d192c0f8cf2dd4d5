#pragma once

#include "servers/vmm/devices/apic_bus.hpp"

#include <cstdint>

namespace margay::vmm {

/// A hypercall of KVM's kind (Linux Documentation/virt/kvm/x86/hypercalls.rst): RAX, then RBX, RCX, RDX and RSI.
struct KvmCall {
    std::uint64_t number;
    std::uint64_t argument[4];
    bool is_64_bit;  ///< else all are 32 bits wide
    unsigned cpl;
};

/// What calls do to the vCPUs of the VM.
class KvmCallTargets {
  public:
    /// An interrupt message for the vCPU with that APIC id. False: there is none.
    virtual bool send_to(std::uint32_t apic_id, const ApicMessage& message) = 0;
    /// Ends the halt of that vCPU, or its next one.
    virtual bool kick(std::uint32_t apic_id) = 0;

  protected:
    ~KvmCallTargets() = default;
};

/// False: answered with kvm_no_such_call, whoever asks.
[[nodiscard]] constexpr bool is_kvm_call(std::uint64_t number) noexcept {
    return number == 5 || number == 10;
}

/// KVM_HC_KICK_CPU and KVM_HC_SEND_IPI, which CPUID announces to guests with several vCPUs. Returns what goes to RAX.
[[nodiscard]] std::uint64_t answer_kvm_call(const KvmCall& call, KvmCallTargets& targets);

/// The answer to calls that do not exist.
inline constexpr std::uint64_t kvm_no_such_call = static_cast<std::uint64_t>(-1000);

}  // namespace margay::vmm

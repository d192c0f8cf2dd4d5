#pragma once

#include <cstddef>
#include <cstdint>

namespace margay::vmm {

enum class Emulation : std::uint8_t {
    done,     ///< the instruction is finished, RIP is behind it
    partial,  ///< some iterations of a REP string are finished, RIP is still at it: resume the guest
    exception,  ///< it faults: VcpuState::event (and CR2) is set for injection, RIP is still at it
    retry,  ///< guest memory no longer says what the exit says: resume the guest, nothing was done
    not_emulated,  ///< an instruction that is not emulated: #UD, and worth a log line. Nothing was done
    unhandled,  ///< nothing can go on: `reason` says more. Nothing was done; stop the guest
};

/// How an emulation ended, and what the reply to the kernel has to carry.
struct EmulationResult {
    Emulation outcome;
    /// Done with RFLAGS.TF set: #DB with DR6.BS is due. (The emulator does not do that: DR6 is in a state group
    /// that it does not need.)
    bool single_step;
    std::uint8_t vector;       ///< with exception
    std::uint8_t code_length;  ///< with not_emulated and unhandled: bytes in `code`
    std::uint32_t error_code;  ///< with exception; all those raised (#SS, #GP, #PF) have one
    std::uint64_t dirty;       ///< groups (`state::`) of VcpuState that were changed
    std::uint64_t address;     ///< with vector 14: the faulting linear address
    const char* reason;        ///< likewise
    std::byte code[16];

    /// Nothing follows but the reply.
    [[nodiscard]] bool is_plain() const noexcept {
        return outcome == Emulation::done && !single_step;
    }
};

}  // namespace margay::vmm

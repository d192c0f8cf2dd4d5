#pragma once

#include "servers/vmm/emulator/bus.hpp"
#include "servers/vmm/emulator/decode_cache.hpp"
#include "servers/vmm/emulator/emulation_result.hpp"
#include "servers/vmm/emulator/instruction_fetch.hpp"
#include "servers/vmm/emulator/walk_cache.hpp"

#include <cstdint>

namespace margay::vmm {

/// Executes for one vCPU the instruction at which an MMIO or string-port exit happened, when the processor
/// has not executed it: walks the guest's page tables, fetches, decodes (remembering walks and decoded
/// instructions), reads and writes devices through the bus and RAM directly.
///
/// Needs these groups of VcpuState: gpr_low, gpr_mid, gpr_high, rip, rflags, segments, control. What it changes
/// is said in EmulationResult::dirty. Emulated with a memory operand: MOV, MOVZX, MOVSX, MOVSXD, MOVBE, ADD, ADC,
/// SUB, SBB, AND, OR, XOR, CMP, TEST, INC, DEC, NOT, NEG, XCHG, XADD, CMPXCHG, BT, BTS, BTR, BTC, PUSH, POP, SETcc,
/// CMOVcc, SMSW, MOV from a segment register; MOVS, STOS, LODS, SCAS, CMPS, INS, OUTS with and without REP; in 16-, 32- and 64-bit code. LOCK is
/// accepted and means nothing: devices are not shared with other processors' caches. Not emulated: vector
/// registers, far transfers, segment loads, alignment checks (#AC), protection keys, debug breakpoints.
class Emulator {
  public:
    Emulator(GuestMemory& memory, Bus& bus) noexcept : memory_{memory}, bus_{bus} {}
    Emulator(const Emulator&) = delete;
    Emulator& operator=(const Emulator&) = delete;

    /// An exit of class mmio: `gpa` and `access` are its details 0 and 1.
    [[nodiscard]] EmulationResult mmio(VcpuState& s, std::uint64_t gpa,
                                       std::uint64_t access) noexcept;

    /// An exit of class port with port_access::string: `access` is its detail 0.
    [[nodiscard]] EmulationResult port_string(VcpuState& s, std::uint64_t access) noexcept;

    /// Guest memory lies elsewhere now: forget what was remembered of it.
    void forget() noexcept { walks_.forget(); }

  private:
    [[nodiscard]] const Operation* operation_at(VcpuState& s, const CpuMode& mode,
                                                EmulationResult& result) noexcept;
    [[nodiscard]] const Operation* decode_at(VcpuState& s, const CpuMode& mode,
                                             EmulationResult& result) noexcept;
    [[nodiscard]] bool move_simply(VcpuState& s, const CpuMode& mode, const Operation& operation,
                                   std::uint64_t gpa, EmulationResult& result) noexcept;
    void finish(const VcpuState& s, EmulationResult& result) noexcept;

    /// Exits in a row whose address does not agree with the guest's page tables: one is a race of the guest
    /// with itself, more is a page table that was changed without INVLPG.
    static constexpr unsigned most_retries = 16;

    GuestMemory& memory_;
    Bus& bus_;
    unsigned retries_ = 0;
    CpuModeCache modes_;
    WalkCache walks_;
    DecodeCache operations_;
};

}  // namespace margay::vmm

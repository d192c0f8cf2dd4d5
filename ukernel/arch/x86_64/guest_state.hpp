// Which states a guest may be entered with. VMRUN refuses some (AMD APM vol. 2 §15.5.1, §15.20), others
// the emulators turn into a hang. Pure: host tests and a fuzzer run it.
#pragma once
#include <cstdint>

#include "proto/vcpu_state.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay::guest_state {

// What depends on the processor.
struct Limits {
    std::uint64_t cr4;  // bits that may be set
    std::uint64_t physical_bits;
};

constexpr std::uint64_t rflags_vm = 1 << 17;
constexpr std::uint16_t cs_long = 1 << 9, cs_default = 1 << 10;  // SegmentState::attributes

// Bits of CR4 by CPUID 1 ECX, CPUID 7 EBX and ECX (AMD APM vol. 2 §3.1.3).
constexpr std::uint64_t supported_cr4(std::uint32_t leaf1_ecx, std::uint32_t leaf7_ebx,
                                      std::uint32_t leaf7_ecx) {
    const auto bit = [](std::uint32_t word, unsigned from, unsigned to) {
        return static_cast<std::uint64_t>(word >> from & 1) << to;
    };
    return 0x7ff | bit(leaf7_ecx, 2, 11) | bit(leaf7_ecx, 16, 12) | bit(leaf7_ebx, 0, 16) |
           bit(leaf1_ecx, 17, 17) | bit(leaf1_ecx, 26, 18) | bit(leaf7_ebx, 7, 20) |
           bit(leaf7_ebx, 20, 21) | bit(leaf7_ecx, 3, 22) | bit(leaf7_ecx, 7, 23);
}

// What belongs together: a rule may concern several of them.
struct System {
    std::uint64_t cr0, cr3, cr4, efer, rip, rflags;
    std::uint16_t cs;  // attributes

    bool paging() const { return (cr0 & cpu::cr0::pg) != 0; }
    // The processor computes EFER.LMA; nobody else.
    bool long_mode() const { return paging() && (efer & cpu::efer::lme) != 0; }
    bool long_code() const { return long_mode() && (cs & cs_long) != 0; }
    bool is_canonical(std::uint64_t address) const {
        const unsigned shift = (cr4 & cpu::cr4::la57) != 0 ? 7 : 16;
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << shift) >> shift) ==
               address;
    }
};

inline bool is_valid(const System& s, const Limits& limits) {
    constexpr std::uint64_t cr0_bits = 0xe005003f;
    if ((s.cr0 & ~cr0_bits) != 0 || (s.cr0 & (cpu::cr0::nw | cpu::cr0::cd)) == cpu::cr0::nw)
        return false;
    if ((s.cr4 & ~limits.cr4) != 0) return false;
    if (s.paging() && (s.cr0 & cpu::cr0::pe) == 0) return false;
    const bool long_mode = s.long_mode();
    if (long_mode && (s.cr4 & cpu::cr4::pae) == 0) return false;
    if (!long_mode && (s.cr4 & cpu::cr4::pcide) != 0) return false;
    if (s.cr3 >> (long_mode ? limits.physical_bits : 32) != 0) return false;
    if (long_mode && (s.cs & (cs_long | cs_default)) == (cs_long | cs_default)) return false;
    if (long_mode && (s.rflags & rflags_vm) != 0) return false;
    return s.long_code() ? s.is_canonical(s.rip) : s.rip >> 32 == 0;
}

// ES CS SS DS FS GS. The bases of the first four have 32 bits.
inline bool are_valid(const SegmentState (&segments)[6], const System& s) {
    for (unsigned i = 0; i < 6; ++i) {
        if ((segments[i].attributes & ~0xfffu) != 0) return false;
        if (i < 4 ? segments[i].base >> 32 != 0 : !s.is_canonical(segments[i].base)) return false;
    }
    return true;
}

// TR LDTR GDTR IDTR.
inline bool are_valid(const SegmentState (&tables)[4], const System& s) {
    for (const SegmentState& t : tables)
        if ((t.attributes & ~0xfffu) != 0 || !s.is_canonical(t.base)) return false;
    return true;
}

inline bool is_valid_pat(std::uint64_t pat) {
    for (unsigned i = 0; i < 8; ++i) {
        const std::uint64_t type = pat >> 8 * i & 0xff;
        if (type > 7 || type == 2 || type == 3) return false;
    }
    return true;
}

// An event to inject (AMD APM vol. 2 §15.20). External interrupts go through the virtual interrupt only:
// EVENTINJ of one can be delivered twice on some implementations.
inline bool is_valid_event(std::uint64_t event, const System& s) {
    using namespace event_injection;
    constexpr std::uint64_t reserved = 0x7ffff000, type = 7 << 8;
    constexpr std::uint32_t with_error = 0x60227d00;  // #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX
    constexpr std::uint32_t exceptions = 0x702f7dfb;  // and all others but NMI and reserved ones
    if ((event & valid) == 0) return true;
    if ((event & reserved) != 0) return false;
    const unsigned vector = event & 0xff;
    const bool error = (event & has_error) != 0;
    switch (event & type) {
    case type_nmi: return !error;
    case type_software: return !error;
    case type_exception: break;
    default: return false;
    }
    if (vector > 31 || (exceptions >> vector & 1) == 0) return false;
    // INTO and BOUND do not exist in 64-bit code.
    if (s.long_code() && (vector == 4 || vector == 5)) return false;
    const bool has = (with_error >> vector & 1) != 0;
    // Real mode pushes none.
    return error ? has : !has || (s.cr0 & cpu::cr0::pe) == 0;
}

}  // namespace margay::guest_state

// Registers of guests that neither VMRUN nor VMLOAD switches, and that kernel and servers do not use: x87, vector
// and protection-key registers, XCR0, DR0 to DR3, TSC_AUX. The processor's hold those of the vCPU that ran
// last on the core, and are switched when another one does.
#pragma once
#include <cstdint>

#include "support/result.hpp"
#include "ukernel/arch/x86_64/xsave_layout.hpp"

namespace margay {

struct Core;
struct Vcpu;

struct LazyRegisters {
    // An XSAVE area in standard form, or an FXSAVE image where there is no XSAVE.
    alignas(64) std::uint8_t area[xsave_bytes];
    std::uint64_t xcr0;
    std::uint64_t dr[4];
    std::uint64_t tsc_aux;
};

namespace lazy_registers {

// As after a reset.
void init(LazyRegisters& registers);
// The processor's registers become the vCPU's.
void load(Core& core, Vcpu& vcpu);
// Groups fpu, xcr0, debug_addresses and tsc_aux of `groups`, to and from the state page. bad_argument, and
// nothing is changed: an XCR0 that the processor would not take.
void store_state(Vcpu& vcpu, std::uint64_t groups);
Status load_state(Vcpu& vcpu, std::uint64_t groups);
// What the processor still holds of the vCPU is worth nothing any more.
void forget(Vcpu& vcpu);

}  // namespace lazy_registers

}  // namespace margay

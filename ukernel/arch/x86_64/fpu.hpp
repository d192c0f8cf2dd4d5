// x87, MMX and SSE registers of guests. Kernel and servers use none, so the registers hold those of the
// vCPU that used them last on the core.
#pragma once
#include <cstdint>

namespace margay {

struct Core;
struct Vcpu;

// An FXSAVE image (AMD APM vol. 2 §11.4.4).
struct FpuState {
    alignas(16) std::uint8_t image[512];
};

namespace fpu {

// As after FNINIT.
void init(FpuState& state);
// The registers become the vCPU's.
void load(Core& core, Vcpu& vcpu);
// From and to the state page.
void store_state(Vcpu& vcpu);
void load_state(Vcpu& vcpu);
// What the registers still hold of the vCPU is worth nothing any more.
void forget(Vcpu& vcpu);

}  // namespace fpu

}  // namespace margay

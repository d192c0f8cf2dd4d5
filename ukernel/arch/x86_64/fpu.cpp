#include "ukernel/arch/x86_64/fpu.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::fpu {

namespace {

// Floating-point instructions work while it exists.
class Enabled {
  public:
    Enabled() : cr0_{cpu::read_cr0()} { cpu::write_cr0(cr0_ & ~(cpu::cr0::em | cpu::cr0::ts)); }
    ~Enabled() { cpu::write_cr0(cr0_); }
    Enabled(const Enabled&) = delete;
    Enabled& operator=(const Enabled&) = delete;

  private:
    std::uint64_t cr0_;
};

}  // namespace

void init(FpuState& state) {
    state = FpuState{};
    state.image[0] = 0x7f, state.image[1] = 0x03;    // FCW
    state.image[24] = 0x80, state.image[25] = 0x1f;  // MXCSR
}

void load(Core& core, Vcpu& v) {
    const Enabled enabled;
    if (core.fpu_owner != nullptr) cpu::fxsave(core.fpu_owner->fpu.image);
    // AMD processors leave FIP, FDP and FOP as they are while no x87 error is pending, so that the next
    // guest would read where the last one's code and data lie (CVE-2006-1056).
    cpu::clear_x87_pointers();
    cpu::fxrstor(v.fpu.image);
    core.fpu_owner = &v;
}

void store_state(Vcpu& v) {
    if (v.core->fpu_owner == &v) {
        const Enabled enabled;
        cpu::fxsave(v.fpu.image);
    }
    for (unsigned i = 0; i < sizeof(v.fpu.image); ++i) v.page->fpu[i] = v.fpu.image[i];
}

// Every processor with SVM has the lower 16 bits of MXCSR; others make FXRSTOR fault (AMD APM vol. 2
// §11.4.4).
void load_state(Vcpu& v) {
    constexpr unsigned mxcsr_reserved = 26;
    forget(v);
    for (unsigned i = 0; i < sizeof(v.fpu.image); ++i) v.fpu.image[i] = v.page->fpu[i];
    v.fpu.image[mxcsr_reserved] = v.fpu.image[mxcsr_reserved + 1] = 0;
}

void forget(Vcpu& v) {
    if (v.core->fpu_owner == &v) v.core->fpu_owner = nullptr;
}

}  // namespace margay::fpu

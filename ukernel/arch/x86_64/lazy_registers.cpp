#include "ukernel/arch/x86_64/lazy_registers.hpp"

#include <cstring>

#include "proto/exit.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::lazy_registers {

namespace {

constexpr unsigned mxcsr_at = 24;
constexpr std::uint64_t xcr0_at_reset = xcr0::x87;

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

// Every part is switched, whatever the guest has enabled: it may enable more without an exit where the processor
// does not know the intercept, and what it disabled keeps its value.
void save_vector(LazyRegisters& r) {
    const std::uint64_t all = features().xsave.supported;
    if (all == 0) {
        cpu::fxsave(r.area);
        return;
    }
    r.xcr0 = cpu::read_xcr0();
    if (r.xcr0 != all) cpu::write_xcr0(all);
    cpu::xsave(r.area, all);
}

// Behind save_vector.
void restore_vector(const LazyRegisters& r) {
    const std::uint64_t all = features().xsave.supported;
    // AMD processors leave FIP, FDP and FOP as they are while no x87 error is pending, so that the next
    // guest would read where the last one's code and data lie (CVE-2006-1056).
    cpu::clear_x87_pointers();
    if (all == 0) {
        cpu::fxrstor(r.area);
        return;
    }
    if (cpu::read_xcr0() != all) cpu::write_xcr0(all);
    cpu::xrstor(r.area, all);
    if (r.xcr0 != all) cpu::write_xcr0(r.xcr0);
}

void save_others(LazyRegisters& r) {
    cpu::read_debug_addresses(r.dr);
    if (features().tsc_aux) r.tsc_aux = cpu::read_msr(cpu::msr::tsc_aux);
}

void restore_others(const LazyRegisters& r) {
    cpu::write_debug_addresses(r.dr);
    if (features().tsc_aux) cpu::write_msr(cpu::msr::tsc_aux, r.tsc_aux);
}

// The area becomes what the processor holds; groups: what of it is wanted.
void refresh(Vcpu& v, std::uint64_t groups) {
    if (v.core->lazy_owner != &v) return;
    const bool has_xsave = features().xsave.supported != 0;
    if ((groups & state::fpu) != 0) {
        const Enabled enabled;
        save_vector(v.lazy);
        if (has_xsave && v.lazy.xcr0 != features().xsave.supported) cpu::write_xcr0(v.lazy.xcr0);
    } else if ((groups & state::xcr0) != 0 && has_xsave) {
        v.lazy.xcr0 = cpu::read_xcr0();
    }
    if ((groups & (state::debug_addresses | state::tsc_aux)) != 0) save_others(v.lazy);
}

std::uint64_t part_mask(const LazyRegisters& r) {
    std::uint64_t present;
    std::memcpy(&present, r.area + xsave_header, sizeof(present));
    return present;
}

void store_vector(const LazyRegisters& r, VcpuState& p) {
    std::memcpy(p.fpu, r.area, sizeof(p.fpu));
    const XsaveLayout& layout = features().xsave;
    const std::uint64_t present = part_mask(r) & layout.supported;
    auto* const page = reinterpret_cast<std::uint8_t*>(&p);
    for (const XsavePart& part : xsave_parts) {
        // Absent parts are in their initial state.
        if ((present >> part.bit & 1) != 0)
            std::memcpy(page + part.in_page, r.area + layout.offset[part.bit], part.size);
        else
            std::memset(page + part.in_page, 0, part.size);
    }
}

// Every processor with SVM has the lower 16 bits of MXCSR; others make FXRSTOR and XRSTOR fault (AMD APM
// vol. 2 §11.4.4). The header is made here: none of its bits come from the page.
void load_vector(LazyRegisters& r, const VcpuState& p) {
    std::memcpy(r.area, p.fpu, sizeof(p.fpu));
    r.area[mxcsr_at + 2] = r.area[mxcsr_at + 3] = 0;
    const XsaveLayout& layout = features().xsave;
    std::memset(r.area + xsave_header, 0, xsave_header_bytes);
    std::memcpy(r.area + xsave_header, &layout.supported, sizeof(layout.supported));
    const auto* const page = reinterpret_cast<const std::uint8_t*>(&p);
    for (const XsavePart& part : xsave_parts)
        if ((layout.supported >> part.bit & 1) != 0)
            std::memcpy(r.area + layout.offset[part.bit], page + part.in_page, part.size);
}

}  // namespace

void init(LazyRegisters& r) {
    r = LazyRegisters{};
    r.area[0] = 0x7f, r.area[1] = 0x03;  // FCW
    r.area[mxcsr_at] = 0x80, r.area[mxcsr_at + 1] = 0x1f;
    // Those two parts are not in their initial state: MXCSR has a value. All others are.
    r.area[xsave_header] = xcr0::x87 | xcr0::sse;
    r.xcr0 = xcr0_at_reset;
}

void load(Core& core, Vcpu& v) {
    const Enabled enabled;
    if (core.lazy_owner != nullptr) {
        save_vector(core.lazy_owner->lazy);
        save_others(core.lazy_owner->lazy);
    }
    restore_vector(v.lazy);
    restore_others(v.lazy);
    core.lazy_owner = &v;
}

void store_state(Vcpu& v, std::uint64_t groups) {
    refresh(v, groups);
    VcpuState& p = *v.page;
    if ((groups & state::fpu) != 0) store_vector(v.lazy, p);
    if ((groups & state::xcr0) != 0) p.xcr0 = v.lazy.xcr0;
    if ((groups & state::debug_addresses) != 0) std::memcpy(p.dr, v.lazy.dr, sizeof(p.dr));
    if ((groups & state::tsc_aux) != 0) p.tsc_aux = v.lazy.tsc_aux;
}

Status load_state(Vcpu& v, std::uint64_t groups) {
    const VcpuState& p = *v.page;
    std::uint64_t xcr0 = 0;
    if ((groups & state::xcr0) != 0) {
        xcr0 = __atomic_load_n(&p.xcr0, __ATOMIC_RELAXED);
        const std::uint64_t all = features().xsave.supported;
        if (!xcr0::is_valid(xcr0, all == 0 ? xcr0_at_reset : all)) return Status::bad_argument;
    }
    // Loaded anew before the guest runs.
    refresh(v, state::lazy);
    forget(v);
    if ((groups & state::fpu) != 0) load_vector(v.lazy, p);
    if ((groups & state::xcr0) != 0) v.lazy.xcr0 = xcr0;
    if ((groups & state::debug_addresses) != 0) std::memcpy(v.lazy.dr, p.dr, sizeof(p.dr));
    if ((groups & state::tsc_aux) != 0) v.lazy.tsc_aux = static_cast<std::uint32_t>(p.tsc_aux);
    return Status::ok;
}

void forget(Vcpu& v) {
    if (v.core->lazy_owner == &v) v.core->lazy_owner = nullptr;
}

}  // namespace margay::lazy_registers

// Translations of native address spaces on this core.
#pragma once
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/feature.hpp"

namespace margay {

// Drops them, whichever address space is loaded. The kernel's own are global and stay where possible.
inline void drop_user_translations() {
    if (!features().pcid) {
        cpu::write_cr3(cpu::read_cr3());
    } else if (features().invpcid) {
        cpu::invalidate_all_pcids();
    } else {
        const std::uint64_t cr4 = cpu::read_cr4();
        cpu::write_cr4(cr4 & ~cpu::cr4::pge);
        cpu::write_cr4(cr4);
    }
}

}  // namespace margay

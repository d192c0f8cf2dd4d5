#pragma once

#include "proto/vcpu_state.hpp"
#include "servers/vmm/devices/guest_memory.hpp"

namespace margay::vmm {

/// Length of the instruction at CS:RIP in bytes, 1..15; 0 if it cannot be read or is none. For skipping
/// what exited when the processor does not report the next RIP. Needs the state groups rip, rflags, segments and
/// control. The usual encodings of instructions that exit (CPUID, HLT, RDMSR, WRMSR, RDTSC, VMMCALL, PAUSE, MOV
/// CRn, …) are recognised by their first bytes; others cost a decode.
[[nodiscard]] unsigned decode_length(GuestMemory& memory, const VcpuState& s) noexcept;

}  // namespace margay::vmm

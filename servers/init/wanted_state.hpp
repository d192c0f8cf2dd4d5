// The state groups that each row of a VM's exit table asks for.
#pragma once
#include "proto/exit.hpp"

namespace margay::init {

// What the handler of a class needs beside the message. Port, CPUID and hypercall exits carry everything in registers.
constexpr std::uint64_t wanted_state(ExitClass c) {
    using namespace state;
    switch (c) {
    // What a restored VM starts from stands in the state page already.
    case ExitClass::startup: return 0;
    // RDMSR answers in two of the four registers of that group.
    case ExitClass::msr: return gpr_low;
    case ExitClass::mmio: return gpr_low | gpr_mid | gpr_high | rip | rflags | segments | control;
    case ExitClass::control_register:
    case ExitClass::exception:
    case ExitClass::shutdown:
    case ExitClass::invalid_state:
    case ExitClass::task_switch:
    case ExitClass::debug_register:
    case ExitClass::legacy_fpu_error:
    case ExitClass::unknown: return all & ~(event | intercepts);
    default: return 0;
    }
}

}  // namespace margay::init

// What is said of a VMM that died: the core that a developer starts from.
#pragma once
#include "servers/init/guest.hpp"
#include "servers/init/vmm_process.hpp"

namespace margay::init {

// Registers, the functions it was in, and the vCPU's last exits up to number died_at, as far as the
// flight recorder still has them, on the console: one part of report_parts of that, as they take the core. The program must
// have ended.
constexpr unsigned report_parts = 3;
void report_dead_vmm(const char* vm, const VmmProcess& vmm, const GuestCpu& cpu,
                     std::uint64_t died_at, const char* cause, unsigned part);
// The exit that waits, and the vCPU's registers. `sequence` of that exit.
void report_frozen(const char* vm, const GuestCpu& cpu, std::uint64_t sequence, const char* reason);

}  // namespace margay::init

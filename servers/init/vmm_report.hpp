// What is said of a VMM that died: the core that a developer starts from.
#pragma once
#include "servers/init/guest.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

// Registers, the functions it was in, and the guest's last exits up to number died_at, as far as the
// flight recorder still has them, on the console. The program must have
// ended.
void report_dead_vmm(const char* vm, const Program& vmm, const Guest& guest, std::uint64_t died_at,
                     const char* cause);
// The exit that waits, and the guest's registers. `sequence` of that exit.
void report_frozen(const char* vm, const Guest& guest, std::uint64_t sequence, const char* reason);

}  // namespace margay::init

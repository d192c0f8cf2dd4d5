// Carries out a command, for both front ends: finds the VM it names and asks the supervisor.
#pragma once
#include "servers/init/control/operations.hpp"

namespace margay::init {

constexpr const char* to_text(VmPhase p) {
    switch (p) {
    case VmPhase::shut_off: return "shut off";
    case VmPhase::starting: return "starting";
    case VmPhase::running: return "running";
    case VmPhase::suspended: return "suspended";
    case VmPhase::restarting: return "restarting";
    case VmPhase::frozen: return "frozen";
    case VmPhase::failed: return "failed";
    }
    return "unknown";
}

// A VM has the number by which `list` shows it.
constexpr unsigned id_of(unsigned vm) { return vm + 1; }

struct Performed {
    bool pending = false;  // it goes on: ask again with go_on()
    unsigned ticket = 0;
    bool good = false;
    ErrorText error;  // why not
    FailureKind kind = FailureKind::failed;
    ErrorText message;  // what was done; empty for commands that only show something
    Arrival arrival;    // of module-put
    unsigned vm = 0;    // the VM that was named, or vm_count()
};

void perform(Operations& operations, const Command& command, Performed& result);
// For a command that is pending: whether it still is, and how it ended if not.
void go_on(Operations& operations, const Command& command, Performed& result);

}  // namespace margay::init

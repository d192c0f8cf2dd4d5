// What the node console asks of the supervisor.
#pragma once
#include <cstdint>

#include "servers/init/control/command.hpp"

namespace margay::init {

enum class VmPhase : std::uint8_t {
    shut_off,
    running,
    suspended,   // by command: its vCPU stands still
    restarting,  // its VMM is being replaced
    frozen,      // every VMM that it was given died of the same exit
    failed,      // see reason
};

struct VmInfo {
    const char* name = "";
    VmPhase phase = VmPhase::shut_off;
    unsigned core = 0;
    std::uint64_t memory_mib = 0;
    std::uint64_t exits = 0;
    const char* vmm = "";  // boot module of the VMM
    std::uint64_t restarts = 0;
    std::uint64_t rolled_back = 0;
    std::uint64_t blackout_ns = 0;  // of the last restart or swap; 0: there was none
    bool saved = false;
    std::uint64_t saved_bytes = 0;
    char reason[128] = {};  // why it failed or is frozen; zero-terminated, may be empty
};

struct ModuleInfo {
    const char* name = "";
    std::uint64_t bytes = 0;
};

struct Outcome {
    bool good = true;
    const char* error = "";  // one line, without "error:"; valid until the next call
};

class Operations {
  public:
    virtual unsigned vm_count() = 0;
    virtual VmInfo vm_info(unsigned vm) = 0;
    virtual unsigned module_count() = 0;
    virtual ModuleInfo module(unsigned index) = 0;
    // Does what the command says, within about a second. vm: the VM that it names; vm_count() if it
    // names none. Not called for list, dominfo, help and modules, which the four above answer.
    // shutdown must return before the node is off, so that the answer can be sent.
    virtual Outcome execute(const Command& command, unsigned vm) = 0;

  protected:
    ~Operations() = default;
};

}  // namespace margay::init

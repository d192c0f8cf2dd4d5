// What the node console asks of the supervisor.
#pragma once
#include <cstdint>

#include "proto/boot_info.hpp"
#include "proto/exit.hpp"
#include "proto/kernel.hpp"
#include "proto/pci.hpp"
#include "proto/policy.hpp"
#include "servers/init/control/command.hpp"
#include "servers/init/control/module_store.hpp"
#include "servers/init/failure.hpp"

namespace margay::init {

enum class VmPhase : std::uint8_t {
    shut_off,
    starting,  // its guest is being made and loaded
    running,
    suspended,   // by command: its vCPU stands still
    restarting,  // its VMM is being replaced
    frozen,      // every VMM that it was given died of the same exit
    failed,      // see reason
};

struct VmInfo {
    const char* name = "";  // empty: there is no VM at this place any more
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
    // While it starts: bytes of the guest's files, and how many of them are in place.
    std::uint64_t file_bytes = 0, placed_bytes = 0;
    char reason[128] = {};  // why it failed or is frozen; zero-terminated, may be empty
};

// A policy: a server that has exits of some classes before the VMM.
struct PolicyInfo {
    const char* vm = "";  // empty: there is none at this place
    const char* module = "";
    const char* state = "";
    std::uint32_t classes = 0;  // bit n: ExitClass n
    const char* options = "";
    char report[128] = {};             // its own line, or why it failed
    const PolicyPage* page = nullptr;  // its figures; null: it has none
};

struct ModuleInfo {
    const char* name = "";  // empty: there is none at this place
    std::uint64_t bytes = 0;
    bool was_put = false;        // it is no boot module
    std::uint64_t received = 0;  // bytes: less than all while it is put
    std::string_view used_by{};  // a VM, or "the node"; empty: nobody. Valid until the next call
};

// A PCI function of the machine.
struct DeviceInfo {
    std::uint16_t requester = 0, vendor = 0, device = 0, group = 0;
    std::uint32_t class_code = 0;
    PciReset reset = PciReset::none;
    PciOutcome obstacle = PciOutcome::ok;
    const char* iommu = "";                        // what confines it; empty: nothing does
    bool may_raise_any = false;                    // not its interrupts
    const BootFirmwareMemory* firmware = nullptr;  // null: firmware uses no memory through it
    const char* holder = "";                       // a VM; empty: nobody
};

// Exits of a vCPU since its VM was started, as the kernel counts them.
struct CpuExits {
    struct Class {
        std::uint64_t exits = 0;
        std::uint64_t ns = 0;  // from the exits to their replies
    };
    unsigned core = 0;
    Class of[exit_classes];                   // by ExitClass
    std::uint64_t by_kernel[kernel_exits]{};  // by KernelExit
};

constexpr const char* to_text(KernelExit e) {
    switch (e) {
    case KernelExit::interrupt: return "interrupt";
    case KernelExit::exception: return "exception";
    case KernelExit::step: return "step";
    case KernelExit::count: break;
    }
    return "?";
}

// What is in use. VMs that are off, and what was saved of none, hold nothing: it is then as it was at start.
// The deaths are counted from the node's start.
struct NodeInfo {
    unsigned cores = 0;
    std::uint64_t memory_free = 0, memory_used = 0;  // bytes, of what pmem has
    std::uint64_t memory_extents = 0;                // given out by pmem
    unsigned slots = 0;                              // init's capability slots
    unsigned windows = 0;                            // memory that init has mapped for itself
    unsigned console_deaths = 0, pmem_deaths = 0;    // pmem's with those of its clearer
    unsigned pci_deaths = 0;
    // Interrupt messages of VMs' devices that a core has taken; null: none has.
    std::uint64_t (*device_messages)(unsigned core) = nullptr;
};

struct Outcome {
    bool good = true;
    const char* error = "";  // one line, without "error:"; valid until the next call
    bool pending = false;    // it was begun and goes on: outcome() tells the end
    unsigned ticket = 0;     // of what is pending
    FailureKind kind = FailureKind::failed;  // unless it is good
    Arrival arrival{};                       // of module-put, saved-get and saved-put
    std::string_view bytes{};                // of what is sent
};

class Operations {
  public:
    // Places for VMs. A VM keeps its place; places of VMs that are gone are empty until they are used again.
    virtual unsigned vm_count() = 0;
    virtual VmInfo vm_info(unsigned vm) = 0;
    // vCPUs of the VM whose exits are counted; none while it is off.
    virtual unsigned counted_cpus(unsigned vm) = 0;
    virtual CpuExits cpu_exits(unsigned vm, unsigned cpu) = 0;
    // Places for modules; those that are empty have no name.
    virtual unsigned module_count() = 0;
    virtual ModuleInfo module(unsigned index) = 0;
    // PCI functions; none as long as they are not known.
    virtual unsigned device_count() = 0;
    virtual DeviceInfo device(unsigned index) = 0;
    // Places for policies; those that are empty have no VM.
    virtual unsigned policy_count() = 0;
    virtual PolicyInfo policy(unsigned index) = 0;
    virtual NodeInfo node_info() = 0;
    // Does what the command says, or begins it: it never waits. vm: the VM that it names; vm_count() if it
    // names none. Not called for what only shows something, which those above answer.
    // shutdown of the node must return before the node is off, so that the answer can be sent.
    // A VM does one thing at a time: another command for it fails meanwhile, except destroy.
    virtual Outcome execute(const Command& command, unsigned vm) = 0;
    // How the command went that execute() began for this VM with that ticket; pending until it is done. An
    // error, too, if another took its place.
    virtual Outcome outcome(unsigned vm, unsigned ticket) = 0;
    // A piece of what was announced by module-put or saved-put; or the question for a piece of what was begun by
    // saved-get: Outcome::bytes, which stand at Arrival::next. They may be none although there are more.
    virtual Outcome receive(std::uint32_t transfer, std::uint64_t offset,
                            std::string_view bytes) = 0;

  protected:
    ~Operations() = default;
};

}  // namespace margay::init

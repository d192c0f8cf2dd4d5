// The page that a VMM shares with the supervisor of its VM.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/guest_function.hpp"
#include "support/foreign_text.hpp"

namespace margay {

enum class VmOutcome : std::uint32_t {
    running = 0,
    powered_off = 1,  // the guest asked for it
    reset = 2,        // the guest asked for it
    failed = 3,       // see reason
    halted = 4,       // it sleeps and nothing can wake it, see reason
};

// How far a VMM has come. The supervisor stores `starting` before it starts one; the VMM stores the rest,
// then signals the supervisor's Event.
enum class VmmPhase : std::uint32_t {
    starting = 0,
    serving = 1,  // it has attached to the VM's state and answers exits
    refused = 2,  // it cannot attach, see reason; it has changed nothing and ends
    failed = 3,   // the guest cannot be loaded, see reason; it ends
};

// Bits of the Events that recall vCPUs.
namespace recall_bit {
constexpr std::uint64_t node = 1;  // the supervisor or the console has something for the VM
constexpr std::uint64_t peer = 1ull << 63;  // another vCPU has, or a device that it serves
// Bit first_message + i says that interrupt message i of the VM's PCI functions has come. Of which vCPU's Event: see
// VmControl::message_cpu.
constexpr unsigned first_message = 8;
// Of vCPU 0's Event: bit first_line + i says that interrupt line i of theirs is asserted. It stays masked until the VMM acknowledges it.
constexpr unsigned first_line = first_message + max_guest_messages;
static_assert(first_line + max_guest_functions < 63);
}  // namespace recall_bit

// How a VM's PCI function is to be, as one word.
namespace function_wish {
constexpr std::uint64_t bus_master = 1;   // it may begin transactions
constexpr unsigned interrupts_shift = 1;  // two bits: PciInterrupts
constexpr unsigned messages_shift = 3;    // three bits, with MSI: it sends 1 << them messages
constexpr unsigned resets_shift = 6;      // the bits from here on: how often its guest has reset it
}  // namespace function_wish

struct FunctionControl {
    // The VMM stores it, then signals the supervisor.
    std::atomic<std::uint64_t> wanted;
    // The same word as soon as the function is so. The supervisor stores it, then signals the Event that recalls vCPU 0.
    std::atomic<std::uint64_t> granted;
};

struct VmControl {
    // Stored before the reply that stops a vCPU, and read when one has stopped. Never put back: who stored it may
    // have died meanwhile without that reply, or have given it in the moment in which its successor was chosen.
    std::atomic<VmOutcome> outcome;
    std::atomic<VmmPhase> phase;
    std::uint64_t exits;        // handled so far
    std::uint64_t first_entry;  // TSC when the guest was entered for the first time
    std::uint64_t
        rolled_back;  // half handled exits that a successor has rolled back, over all VMMs
    ForeignText<104> reason;
    // While `starting`: bytes of the guest's kernel and initrd that are in its RAM. A VMM that does not
    // go on with it, and does not serve, is taken to hang.
    std::atomic<std::uint64_t> placed;
    // How often the VM's power button was pressed since the guest was started. The supervisor stores it, then
    // signals the Event that recalls the vCPU.
    std::atomic<std::uint32_t> power_presses;
    // The same number when the VMM last looked, in an exit that is committed or comes again.
    std::atomic<std::uint32_t> power_presses_seen;
    // How many PCI functions it has. The supervisor stores it before the first VMM.
    std::uint32_t functions;
    FunctionControl function[max_guest_functions];
    // The vCPU that interrupt message i of them is to come to, since the guest has it do so. The VMM stores it, then signals the
    // supervisor. Meanwhile, and where that cannot be, it comes to another one: a VMM takes each from whichever it comes to.
    std::atomic<std::uint8_t> message_cpu[max_guest_messages];
};

}  // namespace margay

// What of a virtual machine outlives its VMMs: memory, address space, vCPU, exit portal, device state.
#pragma once
#include "proto/vcpu_state.hpp"
#include "proto/vm_control.hpp"
#include "servers/init/holdings.hpp"
#include "servers/init/manifest.hpp"

namespace margay::init {

// The vCPU and its VMM give way to pmem, init and the console.
constexpr unsigned vm_priority = 16;

struct Guest {
    // Creates everything; nothing runs. death: bits of `event` for the end of the vCPU; requests: the
    // Event whose signals reach the vCPU as recall. On failure why() tells, and release() is due.
    Status create(Node& node, const VmConfig& config, Slot event, std::uint64_t death,
                  Slot requests);
    // Begins with the startup exit, numbered `sequence` + 1.
    Status start(std::uint64_t sequence);
    // Everything goes back. No VMM may be left.
    void release();

    Status fail_with(const char* reason, Status s) {
        why = reason;
        return s;
    }
    // As fail_with, where memory is lacking; and how much there is.
    Status fail_without_memory(const char* what, Status s);
    Status create_memory(const VmConfig& config);
    Status create_vcpu(const VmConfig& config, Slot event, std::uint64_t death, Slot requests);
    Status create_shared(const VmConfig& config);
    Status create_portal(const VmConfig& config);

    Holdings holdings;
    Ram ram;
    Extent state_page, devices, control_page, texts;
    Slot space = no_slot, vcpu = no_slot, portal = no_slot;
    VcpuState* state = nullptr;    // the state page, mapped here
    VmControl* control = nullptr;  // likewise
    std::byte* region = nullptr;   // the device-state region, likewise
    bool needs_files = true;       // kernel and initrd are not in its RAM yet
    const char* why = "";
    char why_text[120] = {};
};

}  // namespace margay::init

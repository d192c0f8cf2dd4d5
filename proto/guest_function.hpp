// The functions of PCI devices that a VM drives itself: what its VMM is told of each. The page of item "functions" in a
// VMM's start-up block (proto/vmm.hpp), which the supervisor writes before it starts the VMM, and nobody after.
#pragma once
#include <cstdint>

#include "proto/pci.hpp"

namespace margay {

constexpr unsigned max_guest_functions = 4;
// Interrupt messages of all functions of a VM together. Each has a bit of the Event that recalls vCPU 0.
constexpr unsigned max_guest_messages = 48;
constexpr unsigned max_function_parts = 32;

struct GuestFunction {
    std::uint16_t requester;  // of the real one
    // MSI-X messages that the guest is shown, those of the table up to what its VM can have; 0: none. The message i of the
    // function is number first_message + i of the VM: that Irq of item "messages", that bit above recall_bit::first_message.
    std::uint16_t messages, first_message;
    std::uint8_t table_bar, pending_bar;         // where its MSI-X table and pending bits lie
    std::uint32_t table_offset, pending_offset;  // bytes
    std::uint64_t
        bar_size[pci_bars];  // bytes, a power of two from page_size on; 0: none that is passed
    std::uint8_t bar_flags[pci_bars];  // the low bits that the register reads
    std::uint8_t reserved[2];
    std::uint8_t config[pci_config_bytes];  // its configuration space as firmware left it
};

// A part of a BAR: whole pages.
struct FunctionPart {
    std::uint8_t function, bar;  // index of each
    std::uint8_t is_trapped;     // it has the MSI-X table or the pending bits
    std::uint8_t
        memory;  // of the others: which one of item "parts" it is, to be mapped into the guest's Space
    std::uint8_t reserved[4];
    std::uint64_t offset, size;  // bytes, in the BAR
    std::uint64_t address;       // of a trapped one: where it is mapped in the VMM
};

struct GuestFunctions {
    std::uint32_t count, parts;
    GuestFunction function[max_guest_functions];
    FunctionPart part[max_function_parts];
};
static_assert(sizeof(GuestFunctions) <= page_size);

}  // namespace margay

// The functions of PCI devices that a VM drives itself: what its VMM is told of each. The page of item "functions" in a
// VMM's start-up block (proto/vmm.hpp), which the supervisor writes before it starts the VMM, and nobody after.
#pragma once
#include <cstdint>

#include "proto/pci.hpp"

namespace margay {

constexpr unsigned max_guest_functions = 4;
// Guest-physical addresses at which functions can be mapped: neither RAM nor an APIC is there. What its ACPI tables tell the guest.
constexpr std::uint64_t function_window = 0xc000'0000;
constexpr std::uint64_t function_window_bytes = 0xfec0'0000 - function_window;
// Bits of a guest-physical address, which CPUID tells it.
constexpr unsigned guest_physical_bits = 40;
// Interrupt messages of all functions of a VM together. Each has a bit of the Events that recall vCPUs.
constexpr unsigned max_guest_messages = 48;
constexpr unsigned max_msi_messages = 16;  // of one function by MSI
constexpr unsigned max_function_parts = 32;

struct GuestFunction {
    std::uint16_t requester;  // of the real one
    // MSI-X messages that the guest is shown, those of the table up to what its VM can have; 0: none. The message i of the
    // function, by MSI-X or MSI, is number first_message + i of the VM: that Irq of item "messages", that bit above
    // recall_bit::first_message.
    std::uint16_t messages, first_message;
    std::uint8_t table_bar, pending_bar;         // where its MSI-X table and pending bits lie
    std::uint32_t table_offset, pending_offset;  // bytes
    std::uint64_t bar_size
        [pci_bars];  // bytes, a power of two, of memory from page_size on; 0: none that is passed
    std::uint8_t bar_flags[pci_bars];  // the low bits that the register reads
    std::uint8_t msi_messages;  // likewise by MSI: a power of two up to max_msi_messages, or 0
    std::uint8_t
        line;  // 1 + i: that Irq of item "lines" is its interrupt line, as INTA to INTD; 0: it has none
    std::uint8_t config[pci_config_bytes];  // its configuration space as firmware left it
};

// A part of a BAR: whole pages, or ports.
struct FunctionPart {
    std::uint8_t function, bar;  // index of each
    std::uint8_t is_trapped;     // it has the MSI-X table or the pending bits
    std::uint8_t
        memory;  // of the others: which one of item "parts" it is, to be mapped into the guest's Space
    std::uint8_t
        is_ports;  // it is a whole BAR of I/O ports: that one of item "parts" is Memory of that type
    std::uint8_t reserved[3];
    std::uint64_t offset, size;  // bytes, in the BAR
    std::uint64_t
        address;  // of a trapped one: where it is mapped in the VMM; of ports: the first real one
};

struct GuestFunctions {
    std::uint32_t count, parts;
    GuestFunction function[max_guest_functions];
    FunctionPart part[max_function_parts];
    // Further addresses for them, above the guest's RAM; 0 bytes: none.
    std::uint64_t high_window, high_window_bytes;
};
static_assert(sizeof(GuestFunctions) <= page_size);

}  // namespace margay

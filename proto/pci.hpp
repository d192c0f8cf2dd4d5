// The pci server's interface: a board in memory that init and the server share, and an Event in each direction. init writes
// who is to have which function; the server makes it so and says what came of it. Neither waits for the other, and nothing
// gets lost when the server dies: what is wished stands there, and the next server goes on with it.
//
// Each side checks what it reads of the other.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

constexpr unsigned pci_functions = 256;
constexpr unsigned pci_bars = 6;
constexpr unsigned pci_config_bytes = 256;

// A wish: whose the function is to be, and in which state. The sequence makes wishes differ: whoever is to have a function that
// he has already gets it reset.
namespace pci_wish {
constexpr std::uint64_t holder_mask = 0xffff;  // 0: nobody's
constexpr std::uint64_t allow_no_reset = 1 << 16;
constexpr std::uint64_t bus_master = 1 << 17;  // it may begin transactions
constexpr unsigned interrupts_shift = 18;      // two bits: PciInterrupts
constexpr unsigned messages_shift = 20;        // three bits, with MSI: it sends 1 << them messages
// A wish that differs in these only resets nothing.
constexpr std::uint64_t adjustable = bus_master | 3 << interrupts_shift | 7 << messages_shift;
constexpr std::uint64_t line = 1 << 23;  // its interrupt line as well, if it has one
constexpr unsigned sequence_shift = 32;
}  // namespace pci_wish

// How a function interrupts.
enum class PciInterrupts : std::uint8_t { none = 0, msi = 1, msix = 2, line = 3 };

enum class PciReset : std::uint8_t { none, function, bus };

// What became of a wish, or why a function cannot be given.
enum class PciOutcome : std::uint8_t {
    ok = 0,
    bridge,         // it leads to other functions
    nodes_own,      // a part of the machine itself: host bridge, ISA bridge, IOMMU
    unplaced,       // a BAR has no address, or a size that cannot be
    no_messages,    // it has neither MSI nor MSI-X
    group,          // others can reach it, or share its name: they must have the same holder
    no_reset,       // nothing brings it back to how it was: pci_wish::allow_no_reset
    used,           // it was another's before, and nothing brings it back
    did_not_drain,  // it has transactions pending for ever
    lost,           // it did not come back after a reset
    past_iommu,     // it is a virtio device that does not promise to do DMA by way of the IOMMU
    hidden,         // a bridge of conventional PCI above it sends its requests on as its own
    no_line,        // it is to have its interrupt line, and nobody knows which that is
    shared_line,    // likewise, and the line is another's or the node's as well
    count
};

namespace pci_bar {
constexpr std::uint8_t ports = 1;
constexpr std::uint8_t wide = 2;  // 64-bit
constexpr std::uint8_t prefetchable = 4;
}  // namespace pci_bar

// A function, as the server knows it. Once it is listed everything but `served` and `outcome` stays as it is, and `obstacle` until
// the function does not come to rest.
struct PciFunction {
    std::uint16_t requester;  // bus << 8 | device << 3 | function
    std::uint16_t vendor, device;
    std::uint8_t revision;
    PciReset reset;
    std::uint32_t class_code;  // class << 16 | subclass << 8 | interface
    std::uint16_t group;       // functions of one group have the same number
    PciOutcome obstacle;       // ok: it can be given
    std::uint8_t reserved;
    std::uint16_t msi, msix;  // messages it can send by either; 0: it has none
    std::uint8_t bar_flags[pci_bars];
    std::uint16_t
        line;  // global system interrupt of its INTx; 0: it has none, or it is not known which
    std::uint8_t reserved2[4];
    std::uint64_t bar_base[pci_bars], bar_size[pci_bars];  // bytes
    // Where its MSI-X table and pending bits lie, if msix is not 0.
    std::uint32_t table_offset, pending_offset;  // bytes
    std::uint8_t table_bar, pending_bar;
    std::uint8_t reserved3[6];
    std::uint8_t config[pci_config_bytes];  // its configuration space as firmware left it
    // The wish that `outcome` is of: it is done, or refused.
    std::atomic<std::uint64_t> served;
    std::atomic<std::uint64_t> outcome;
};

// What the function writes, and where, to send its first message by MSI. The others differ from it in the low bits of the data.
struct PciMessage {
    std::atomic<std::uint64_t> address, data;
};

// All zero at first.
struct PciBoard {
    // Of the server.
    std::atomic<std::uint32_t> listed;  // 1: the list is complete
    std::atomic<std::uint32_t> count;
    std::atomic<std::uint32_t> left_out;  // functions for which there was no room
    std::atomic<std::uint32_t> busy;      // it has something in hand
    std::atomic<std::uint32_t> turns;     // counted up as it goes on
    std::uint32_t reserved;
    PciFunction function[pci_functions];
    // Of init. Messages before the wish that needs them.
    std::atomic<std::uint64_t> wish[pci_functions];
    PciMessage message[pci_functions];
};

constexpr std::uint64_t pci_board_bytes = 128 << 10;
static_assert(sizeof(PciBoard) <= pci_board_bytes);
// What the server keeps for its successor, all zero at first; the layout is its own.
constexpr std::uint64_t pci_book_bytes = 128 << 10;

}  // namespace margay

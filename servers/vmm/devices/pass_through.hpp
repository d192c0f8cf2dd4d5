#pragma once

#include "proto/guest_function.hpp"
#include "servers/vmm/devices/apic_bus.hpp"
#include "servers/vmm/devices/function_hands.hpp"
#include "servers/vmm/devices/irq_lines.hpp"
#include "servers/vmm/devices/machine_control.hpp"
#include "servers/vmm/devices/msix_table.hpp"
#include "servers/vmm/devices/pci_function.hpp"

#include <cstdint>
#include <optional>

namespace margay::vmm {

/// Some of them interrupt by lines.
[[nodiscard]] constexpr bool has_lines(const GuestFunctions& all) noexcept {
    bool any = false;
    for (unsigned i = 0; i < all.count && i < max_guest_functions; ++i) {
        any |= all.function[i].line != 0;
    }
    return any;
}

/// The PCI functions that the guest drives itself, at 00:02.0, 00:03.0, …: their configuration space, where their BARs
/// lie, and their messages. Made from the page of item "functions" (proto/vmm.hpp).
///
/// What is mapped into the guest is at any time a part of what the committed state says: a part is mapped when the guest
/// first touches it, and taken away by the exit that moves it. So a VMM may end anywhere: its mappings end with it, and its
/// successor maps anew.
///
/// Whether the real function is a bus master, and how often it was reset, is asked for by an exit of its own, behind the
/// one in which the guest has written it: nothing is asked for that is undone later. The vCPU that wrote it waits until it
/// is so (MachineControl::await_function).
class PassThrough {
  public:
    struct Parts {
        const GuestFunctions& functions;
        FunctionHands& hands;
        MachineControl& control;
        ApicBus& bus;
        IrqLines& lines;
        Journaled<PciFunctionsState> state;
        Journaled<MsixTableState> messages;
    };
    explicit PassThrough(const Parts& parts) noexcept;

    static void reset(PciFunctionsState& state) noexcept { state = {}; }

    /// Of the device of that number on bus 0; `reg` and `width` as of PciFunction. Where none is: ones.
    [[nodiscard]] std::uint32_t config_read(unsigned device, unsigned reg,
                                            unsigned width) const noexcept;
    void config_write(unsigned device, unsigned reg, unsigned width, std::uint32_t value);

    /// The guest has touched `gpa`. True: it can do so now. False: the access is to be emulated.
    [[nodiscard]] bool touch(std::uint64_t gpa);
    /// Emulated accesses to BARs; `width` 1, 2, 4 or 8, at any alignment. Where nothing is: ones. To parts that are mapped,
    /// or could be, there are none: they find nothing.
    [[nodiscard]] std::uint64_t read(std::uint64_t gpa, unsigned width);
    void write(std::uint64_t gpa, unsigned width, std::uint64_t value);

    /// Whether a function's port is there.
    [[nodiscard]] bool has_port(std::uint16_t port, unsigned width) const noexcept {
        return ports_ != 0 && find_ports(port, width).has_value();
    }
    /// `width` 1, 2 or 4. Where nothing is: ones.
    [[nodiscard]] std::uint32_t port_read(std::uint16_t port, unsigned width);
    void port_write(std::uint16_t port, unsigned width, std::uint32_t value);

    /// Messages of the VM that have come: bit i for number i; and interrupt lines that are asserted: the bits above.
    void arrive(std::uint64_t numbers);
    /// The guest has served a line of theirs, 0 for the first. If the function asserts it still, it comes again.
    void line_completed(unsigned line);

    /// Sees to it that a function becomes as the committed state says. True: it is; then its messages are set up too. Of
    /// one that is not there: true.
    bool settle(unsigned function);
    void settle_all();
    /// Sees to it that messages come to the vCPUs that they are for, as the committed state says.
    void direct_all();

  private:
    /// Where an access ends.
    struct Place {
        unsigned part;
        std::uint64_t offset;  ///< in the BAR
    };

    [[nodiscard]] std::optional<Place> find(std::uint64_t gpa, bool is_trapped) const noexcept;
    [[nodiscard]] std::optional<Place> find_ports(std::uint16_t port,
                                                  unsigned width) const noexcept;
    [[nodiscard]] bool is_in_window(std::uint64_t bar, std::uint64_t size) const noexcept;
    [[nodiscard]] bool is_resetting(unsigned function) const;
    void unmap_bar(unsigned function, unsigned bar);

    // pass_through_messages.cpp
    void set_fired(unsigned line, bool fired);
    void update_line(unsigned line);
    [[nodiscard]] MsixTable table_of(unsigned function) const noexcept;
    [[nodiscard]] bool all_masked(unsigned function) const noexcept;
    [[nodiscard]] bool is_in_table(const Place& place) const noexcept;
    [[nodiscard]] bool is_in_pending(const Place& place) const noexcept;
    [[nodiscard]] std::uint64_t read_aligned(std::uint64_t gpa, unsigned width);
    void write_aligned(std::uint64_t gpa, unsigned width, std::uint64_t value);
    void direct(unsigned function);
    void direct(unsigned function, unsigned number);
    void deliver(const std::optional<InterruptMessage>& message);
    void deliver_pending(unsigned function);
    void deliver_pending_msi(Msi& msi);
    void set_up_messages(unsigned function);
    void set_up_entry(const Place& place, const InterruptMessage& message);

    const GuestFunctions& functions_;
    unsigned count_, parts_, ports_ = 0;  // functions, parts, and those of them that are ports
    FunctionHands& hands_;
    MachineControl& control_;
    ApicBus& bus_;
    IrqLines& lines_;
    Journaled<MsixTableState> messages_;
    std::optional<PciFunction> function_[max_guest_functions];
    /// The wish with which its messages were set up last; ~0: none.
    std::uint64_t set_up_[max_guest_functions];
};

}  // namespace margay::vmm

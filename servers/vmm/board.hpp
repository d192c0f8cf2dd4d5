#pragma once

#include "servers/vmm/acpi/dsdt_options.hpp"
#include "servers/vmm/board_ports.hpp"
#include "servers/vmm/board_state.hpp"
#include "servers/vmm/cpu/cpuid.hpp"
#include "servers/vmm/cpu/kvm_calls.hpp"
#include "servers/vmm/cpu/kvm_clock.hpp"
#include "servers/vmm/cpu/msr.hpp"
#include "servers/vmm/cpu/steal_time.hpp"
#include "servers/vmm/devices/acpi_pm.hpp"
#include "servers/vmm/devices/io_apic.hpp"
#include "servers/vmm/devices/local_apic.hpp"
#include "servers/vmm/devices/pass_through.hpp"
#include "servers/vmm/devices/pci_host.hpp"
#include "servers/vmm/devices/pic.hpp"
#include "servers/vmm/devices/pit.hpp"
#include "servers/vmm/devices/rtc.hpp"
#include "servers/vmm/devices/uart.hpp"
#include "servers/vmm/emulator/bus.hpp"
#include "servers/vmm/state/board_lock.hpp"
#include "servers/vmm/vcpu/cpus.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace margay::vmm {

/// The guest's PC as one of its vCPUs sees it: that one's local APIC and registers, the devices that all share, and
/// their wiring. All that it knows is in the states: each vCPU has a board of its own over them, and what they share
/// is looked at under the board lock. The PIC interrupts vCPU 0, which also serves the shared timers.
///
/// Per exit the vCPU glue does, in this order:
///  1. if hardware took the interrupt it was given (V_IRQ clear): interrupt_taken(vector);
///  2. if next_deadline() has passed: expire(now);
///  3. handle the exit by one of the access functions;
///  4. interrupt_to_inject(): give the vector to hardware, or withdraw V_IRQ on none; nmi_to_inject() likewise;
///  5. put next_deadline() into the vCPU's state page.
/// Hardware must not compare the vector with the task priority (V_IGN_TPR): the board has done it.
class Board final : public Bus, public KvmCallTargets, private IrqLines, private ApicBus {
  public:
    struct Parts {
        BoardState& state;
        const Cpus& cpus;
        unsigned cpu;  ///< the one that this board is for
        const Transaction& transaction;
        BoardLock& lock;
        CpuWaker& waker;
        Clock& clock;
        ConsoleSink& console;
        MachineControl& control;
        GuestMemory& memory;
        GuestWords& words;
        const GuestFunctions* functions = nullptr;  ///< null: the VM has none
        FunctionHands* hands = nullptr;             ///< with functions
    };
    /// Works on the state as it is: call reset() first when the VM is new. What it changes belongs to the
    /// transaction.
    explicit Board(const Parts& parts) noexcept;
    Board(const Board&) = delete;
    Board& operator=(const Board&) = delete;

    /// Power-on state, outside of transactions. Computes CPUID from the host's. `config` may be the state's
    /// own: a reset of the machine.
    static void reset(BoardState& state, BoardConfig config, HostCpuid host) noexcept;
    /// The same of vCPU `cpu`, but for its glue.
    static void reset(CpuState& state, const BoardConfig& config, unsigned cpu) noexcept;

    /// `width` 1, 2 or 4 bytes; the value is zero-extended. Where nothing is: ones. A wide access to a
    /// byte-wide device is split into bytes at ascending ports.
    [[nodiscard]] std::uint32_t port_read(std::uint16_t port, unsigned width) override {
        need_shared();
        return width == 1 ? byte_read(port) : wide_read(port, width);
    }
    void port_write(std::uint16_t port, unsigned width, std::uint32_t value) override {
        need_shared();
        if (width == 1) {
            byte_write(port, static_cast<std::uint8_t>(value));
        } else {
            wide_write(port, width, value);
        }
    }

    /// `width` 1, 2, 4 or 8 bytes. Where nothing is: ones.
    [[nodiscard]] std::uint64_t mmio_read(std::uint64_t address, unsigned width) override;
    void mmio_write(std::uint64_t address, unsigned width, std::uint64_t value) override;

    /// Whether a PCI function of the guest's may be at that address. Asked on every exit of class mmio.
    [[nodiscard]] bool may_be_function(std::uint64_t gpa) const noexcept {
        return gpa - function_window < function_window_bytes_ ||
               gpa - high_window_ < high_window_bytes_;
    }
    /// If so: the guest has touched it, by `access` (mmio_access). True: that part of a function is mapped there now.
    [[nodiscard]] bool map_function(std::uint64_t gpa, std::uint64_t access);
    /// What the guest's ACPI tables have for them.
    [[nodiscard]] DsdtOptions dsdt_options() const noexcept {
        return {high_window_, high_window_bytes_, has_lines_};
    }
    [[nodiscard]] bool has_functions() const noexcept { return pass_through_.has_value(); }
    /// Messages of them that have come, see PassThrough.
    void function_messages(std::uint64_t numbers);
    /// A function may be as was wanted: what that has to be followed by is done, and vCPUs that wait for it are woken.
    void functions_granted();
    /// See PassThrough. True if there are none.
    [[nodiscard]] bool settle_function(unsigned function);
    /// Before any vCPU runs: what the VMM before this one wanted is wanted again.
    void open_functions() {
        if (!pass_through_) return;
        pass_through_->settle_all();
        pass_through_->direct_all();
    }

    [[nodiscard]] MsrResult msr_read(std::uint32_t index, std::uint64_t& value) {
        return msrs_.read(index, value);
    }
    [[nodiscard]] MsrResult msr_write(std::uint32_t index, std::uint64_t value) {
        return msrs_.write(index, value);
    }
    /// MSR 0x277, to be copied to the vCPU after it was written.
    [[nodiscard]] std::uint64_t pat() const noexcept { return msrs_.pat(); }

    [[nodiscard]] const CpuidState& cpuid_table() const noexcept { return state_.cpuid.live; }
    [[nodiscard]] CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf) const noexcept {
        return lookup_cpuid(state_.cpuid.live, leaf, subleaf);
    }

    /// It is not disabled by APIC_BASE.
    [[nodiscard]] bool has_local_apic() const noexcept {
        return (own_.local_apic.live.base >> 11 & 1) != 0;
    }

    [[nodiscard]] const BoardConfig& config() const noexcept { return state_.config.live; }

    /// The vector to offer to hardware now, from the local APIC or the PIC. Asking again replaces the offer;
    /// nothing is acknowledged before interrupt_taken().
    [[nodiscard]] std::optional<std::uint8_t> interrupt_to_inject() {
        return may_interrupt() ? choose_interrupt() : std::nullopt;
    }
    /// False: interrupt_to_inject() has nothing to do and none to say. Asked on every exit: by the states, and
    /// not by the devices.
    [[nodiscard]] bool may_interrupt() const noexcept {
        return own_.local_apic.live.deliverable >= 0 ||
               own_.offer.live.source != OfferState::Source::none || served_.pic.live.output != 0;
    }
    /// The processor took the vector offered last.
    void interrupt_taken(std::uint8_t vector);

    [[nodiscard]] bool has_nmi() const noexcept { return own_.local_apic.live.nmi_pending != 0; }
    /// An NMI waits; it is consumed by asking.
    [[nodiscard]] bool nmi_to_inject() noexcept {
        if (!has_nmi()) {
            return false;
        }
        local_apic_.take_nmi();
        return true;
    }

    /// The local APIC's task priority; CR8 is its high nibble. For a glue that does not intercept CR8.
    [[nodiscard]] std::uint8_t task_priority() const noexcept {
        return local_apic_.task_priority();
    }
    void set_task_priority(std::uint8_t value) noexcept { local_apic_.set_task_priority(value); }

    /// Earliest time at which expire() must be called, on Clock::now_ns()'s scale; no_deadline: never.
    [[nodiscard]] std::uint64_t next_deadline() const noexcept {
        return std::min(own_.local_apic.live.deadline_ns, deadline_of(served_));
    }
    void expire(std::uint64_t now_ns);

    /// Before what was typed is looked at: whichever vCPU reads the UART takes of it as well.
    void share_console() { need_shared(); }
    /// One byte typed at the console. False: no room, ConsoleSink::input_room() will tell.
    [[nodiscard]] bool console_input(std::uint8_t byte) {
        need_shared();
        return uart_.receive(byte);
    }
    /// See AcpiPm.
    void see_power_presses(std::uint32_t presses) {
        need_shared();
        acpi_pm_.see_power_presses(presses);
    }
    void forget_power_presses() {
        need_shared();
        acpi_pm_.forget_power_presses();
    }

    [[nodiscard]] std::uint32_t apic_id() const noexcept { return own_.local_apic.live.id; }
    /// Takes what others have sent. See has_init() and has_startup() then. True: a kick was among it.
    [[nodiscard]] bool open_inbox();
    [[nodiscard]] bool send_to(std::uint32_t apic_id, const ApicMessage& message) override;
    [[nodiscard]] bool kick(std::uint32_t apic_id) override;
    [[nodiscard]] LocalApic& local_apic() noexcept { return local_apic_; }
    [[nodiscard]] StealTime& steal_time() noexcept { return steal_time_; }
    /// Before the lock is let go: whoever serves what this transaction has changed is told.
    void tell_first() {
        if (cpu_ != 0 &&
            (shared_deadline() != deadline_before_ || state_.pic.live.output != pic_before_))
            waker_.wake(0);
    }

    /// Drive an ISA interrupt line, 0..15, into PIC and I/O APIC (line 0 is pin 2).
    void set_irq_line(unsigned irq, bool asserted) override;

    /// Accesses to ports and guest-physical addresses where nothing is, and to MSRs that do not exist, since
    /// this VMM started.
    [[nodiscard]] std::uint64_t unclaimed_ports() const noexcept { return unclaimed_ports_; }
    [[nodiscard]] std::uint64_t unclaimed_mmio() const noexcept { return unclaimed_mmio_; }
    [[nodiscard]] std::uint64_t unknown_msrs() const noexcept { return msrs_.unknown(); }
    [[nodiscard]] Msrs::News note_unknown_msr(std::uint32_t index) {
        return msrs_.note_unknown(index);
    }

  private:
    /// Before anything that the vCPUs share is looked at.
    void need_shared() {
        if (lock_.need()) [[unlikely]] {
            deadline_before_ = shared_deadline();
            pic_before_ = state_.pic.live.output;
        }
    }
    [[nodiscard]] static std::uint64_t deadline_of(const BoardState& state) noexcept {
        return std::min(std::min(state.pit.live.deadline_ns, state.rtc.live.deadline_ns),
                        state.acpi_pm.live.deadline_ns);
    }
    [[nodiscard]] std::uint64_t shared_deadline() const noexcept { return deadline_of(state_); }
    void send(unsigned cpu, const ApicMessage& message);
    /// The vCPU with that APIC id; cpus_.count: there is none.
    [[nodiscard]] unsigned find(std::uint32_t apic_id) const noexcept;
    [[nodiscard]] unsigned choose_lowest(const ApicMessage& message) const noexcept;
    void deliver(const ApicMessage& message) override;
    [[nodiscard]] std::optional<unsigned> recipient(const ApicMessage& message) const override;
    void broadcast(const ApicMessage& message, std::uint32_t sender, bool include_self) override;
    void input_served(unsigned pin) override;
    void end_of_interrupt(std::uint8_t vector) override;
    [[nodiscard]] std::optional<std::uint8_t> choose_interrupt();
    [[nodiscard]] std::optional<PassThrough> make_pass_through(const Parts& parts) noexcept;
    void set_offer(OfferState::Source source, std::uint8_t vector) noexcept;
    [[nodiscard]] std::uint32_t wide_read(std::uint16_t port, unsigned width);
    void wide_write(std::uint16_t port, unsigned width, std::uint32_t value);
    [[nodiscard]] std::uint8_t byte_read(std::uint16_t port);
    void byte_write(std::uint16_t port, std::uint8_t value);
    [[nodiscard]] std::uint8_t device_read(PortOwner owner, std::uint16_t port);
    void device_write(PortOwner owner, std::uint16_t port, std::uint8_t value);

    const BoardState& state_;
    const CpuState& own_;
    const BoardState&
        served_;  // what this vCPU waits for: state_, or one in which nothing ever happens
    unsigned cpu_;
    const Transaction& transaction_;
    const Cpus& cpus_;
    BoardLock& lock_;
    CpuWaker& waker_;
    std::uint64_t deadline_before_ = 0;  // when the lock was taken
    std::uint8_t pic_before_ = 0;
    Journaled<OfferState> offer_;
    LocalApic local_apic_;
    Pic pic_;
    IoApic io_apic_;
    Uart uart_;
    Pit pit_;
    Rtc rtc_;
    AcpiPm acpi_pm_;
    std::optional<PassThrough> pass_through_;
    std::uint64_t function_window_bytes_;  // 0: there are no functions
    std::uint64_t high_window_, high_window_bytes_;
    bool has_lines_;
    PciHost pci_host_;
    KvmClock kvm_clock_;
    StealTime steal_time_;
    Msrs msrs_;
    std::uint64_t unclaimed_ports_ = 0;
    std::uint64_t unclaimed_mmio_ = 0;
};

}  // namespace margay::vmm

#pragma once

#include "servers/vmm/cpu/msr_result.hpp"
#include "servers/vmm/devices/apic_bus.hpp"
#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/local_apic_state.hpp"
#include "servers/vmm/devices/time_base.hpp"
#include "servers/vmm/state/guest_words.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr std::uint64_t local_apic_address = 0xfee0'0000;

/// Local APIC, xAPIC and x2APIC (AMD APM vol. 2 ch. 16, Intel SDM vol. 3 ch. 11). The timer's input clock
/// is 1 GHz. The register page may be moved to where there is no RAM: RAM hides it.
class LocalApic {
  public:
    LocalApic(Journaled<LocalApicState> state, const TimeBase& time, std::uint8_t physical_bits,
              Clock& clock, ApicBus& bus, GuestWords& words) noexcept
        : state_{state},
          time_{time},
          physical_bits_{physical_bits},
          clock_{clock},
          bus_{bus},
          words_{words} {}

    /// As firmware leaves the boot processor's: enabled, LINT0 = ExtINT, LINT1 = NMI.
    static void reset(LocalApicState& state, std::uint32_t id, bool x2apic) noexcept;
    /// As INIT leaves any (Intel SDM vol. 3 §11.4.7.3): what its base register says is kept.
    static void initialise(LocalApicState& state, std::uint32_t id, std::uint64_t base) noexcept;

    /// Register page access, `offset` 0..0xfff, width 1, 2, 4 or 8 bytes. Writes other than 4 bytes at a
    /// multiple of 16 are ignored.
    [[nodiscard]] std::uint64_t mmio_read(std::uint32_t offset, unsigned width);
    void mmio_write(std::uint32_t offset, unsigned width, std::uint64_t value);

    /// MSRs 0x800..0x8ff.
    [[nodiscard]] MsrResult x2apic_read(std::uint32_t msr, std::uint64_t& value);
    [[nodiscard]] MsrResult x2apic_write(std::uint32_t msr, std::uint64_t value);

    /// MSR 0x1b.
    [[nodiscard]] MsrResult write_base(std::uint64_t value);
    [[nodiscard]] std::uint32_t id() const noexcept { return state_->id; }
    [[nodiscard]] std::uint64_t base() const noexcept { return state_->base; }
    /// The register page answers at this address, a multiple of 4096.
    [[nodiscard]] bool has_page_at(std::uint64_t address) const noexcept {
        return (state_->base & ~0x3ffULL) == (address | 0x800);
    }
    [[nodiscard]] bool x2apic() const noexcept { return (state_->base & 0xc00) == 0xc00; }

    /// MSR 0x6e0. Ignored, and read as 0, unless the timer is in TSC-deadline mode.
    [[nodiscard]] std::uint64_t tsc_deadline() const noexcept { return state_->tsc_deadline; }
    void write_tsc_deadline(std::uint64_t value);
    /// The guest's TSC jumped.
    void tsc_changed();

    /// KVM MSR 0x4b564d04.
    [[nodiscard]] MsrResult write_eoi_assist(std::uint64_t value);

    [[nodiscard]] std::uint8_t task_priority() const noexcept {
        return static_cast<std::uint8_t>(state_->task_priority);
    }
    void set_task_priority(std::uint8_t value) noexcept;

    /// Whether a message is for the local APIC with that state, which may be another vCPU's.
    [[nodiscard]] static bool accepts(const LocalApicState& state, std::uint32_t destination,
                                      bool logical) noexcept;
    [[nodiscard]] bool accepts(std::uint32_t destination, bool logical) const noexcept {
        return accepts(*state_, destination, logical);
    }
    /// An interrupt message that is for this APIC.
    void receive(const ApicMessage& message) noexcept;
    /// LINT0 passes the PIC's INTR on.
    [[nodiscard]] bool passes_external() const noexcept;
    /// LINT1, or an NMI message.
    void raise_nmi_line() noexcept;
    void take_nmi() noexcept { state_.edit().nmi_pending = 0; }
    /// INIT has come: its vCPU stops.
    [[nodiscard]] bool has_init() const noexcept { return state_->init_pending != 0; }
    void take_init() noexcept;
    /// A start-up message has come. Where to begin: its vector is the page.
    [[nodiscard]] bool has_startup() const noexcept { return state_->startup_pending != 0; }
    [[nodiscard]] std::uint8_t take_startup() noexcept;

    /// Highest vector that may interrupt the processor now, or -1.
    [[nodiscard]] std::int32_t deliverable() const noexcept { return state_->deliverable; }
    /// The vector goes to hardware now: allow the guest to complete it without an exit if that is safe.
    void offer(std::uint8_t vector) noexcept;
    /// The offer was withdrawn or replaced.
    void withdraw() noexcept;
    /// The processor took it.
    void taken(std::uint8_t vector) noexcept;

    [[nodiscard]] std::uint64_t next_deadline() const noexcept { return state_->deadline_ns; }
    void expire(std::uint64_t now_ns);

  private:
    [[nodiscard]] std::uint32_t mmio_register(unsigned index);
    [[nodiscard]] bool read_register(unsigned index, std::uint32_t& value);
    [[nodiscard]] bool write_register(unsigned index, std::uint32_t value);
    void write_lvt(unsigned entry, std::uint32_t value);
    void write_spurious(std::uint32_t value);
    void send(std::uint64_t icr);
    void request(std::uint8_t vector, bool level) noexcept;
    void end_of_interrupt();
    void retire(std::uint8_t vector);
    void error(std::uint32_t bit);
    void update() noexcept;
    void sync_eoi_assist() {
        if (state_->eoi_assist_armed != 0 && check_eoi_assist()) {
            update();
        }
    }
    [[nodiscard]] bool check_eoi_assist();
    [[nodiscard]] MsrResult x2apic_write_other(unsigned index, std::uint64_t value);
    void self_ipi(std::uint8_t vector);
    void expire_if_due();
    void start_timer(std::uint32_t initial);
    void rescale_timer(std::uint32_t left);
    [[nodiscard]] std::uint64_t deadline_after(std::uint64_t now_ns,
                                               std::uint32_t left) const noexcept;
    void timer_mode_changed(std::uint32_t before);
    void arm_tsc_deadline();
    [[nodiscard]] std::uint32_t timer_current();
    [[nodiscard]] std::uint32_t processor_priority() const noexcept;
    [[nodiscard]] unsigned divide_shift() const noexcept;
    [[nodiscard]] bool software_enabled() const noexcept { return (state_->spurious & 0x100) != 0; }

    Journaled<LocalApicState> state_;
    const TimeBase& time_;
    std::uint8_t physical_bits_;
    Clock& clock_;
    ApicBus& bus_;
    GuestWords& words_;
};

}  // namespace margay::vmm

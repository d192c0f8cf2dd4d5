#include "servers/vmm/vm_check.hpp"

#include "support/cpu_features.hpp"

#include "proto/exit.hpp"

#include <algorithm>
#include <bit>
#include <span>
#include <type_traits>

namespace margay::vmm {

namespace {

bool is_flag(std::uint8_t value) { return value <= 1; }

bool is_sound(const BoardConfig& s) {
    return s.tsc_khz >= 1000 && s.tsc_khz <= 100'000'000 && s.apic_id <= 254 &&
           s.physical_bits >= 36 && s.physical_bits <= 52 && is_flag(s.start_in_x2apic) &&
           is_flag(s.zero_unknown_msrs) && s.cpus >= 1 && s.cpus <= max_cpus &&
           (s.hidden_features & ~all_cpu_features) == 0;
}

bool is_sound(const TimeBase& s) {
    return s.tsc_khz >= 1000 && s.tsc_khz <= 100'000'000 && s.tsc_to_ns.shift <= 127 &&
           s.ns_to_tsc.shift <= 127;
}

bool is_sound(const VcpuGlueState& s) {
    return s.offered_vector <= no_vector && is_flag(s.halted) && is_flag(s.started) &&
           is_flag(s.awaits_startup) && is_flag(s.is_off) && is_flag(s.kicked) &&
           s.waits_for_function <= max_guest_functions;
}

bool is_sound(const OfferState& s) {
    return static_cast<unsigned>(s.source) <= static_cast<unsigned>(OfferState::Source::pic);
}

bool is_sound(const LocalApicState& s) {
    return s.deliverable >= -1 && s.deliverable <= 255 && s.task_priority <= 255 &&
           is_flag(s.nmi_pending) && is_flag(s.init_pending) && is_flag(s.startup_pending) &&
           is_flag(s.eoi_assist_armed) && (s.eoi_assist & 2) == 0;
}

bool is_sound(const PicState& s) {
    return std::ranges::all_of(s.chip, [](const PicChipState& c) {
        return c.lowest <= 7 && c.init_step <= 4 && (c.vector_base & 7) == 0;
    });
}

bool is_sound(const IoApicState& s) {
    constexpr std::uint32_t pins = (1U << io_apic_pins) - 1;
    return s.id <= 15 && s.pins <= io_apic_pins && ((s.levels | s.requests) & ~pins) == 0;
}

bool is_sound(const UartState& s) { return s.receive_head <= 15 && s.receive_count <= 16; }

bool is_sound(const PitState& s) {
    return std::ranges::all_of(s.channel, [](const PitChannelState& c) {
        return c.reload <= 65'536 && c.mode <= 5 && c.access >= 1 && c.access <= 3 &&
               c.latch_bytes <= 2 && is_flag(c.bcd) && is_flag(c.null_count);
    });
}

/// The date lies within some ten thousand years of 1970.
bool is_sound(const RtcState& s) {
    constexpr std::int64_t far = 1LL << 38;
    return s.index <= 127 && s.offset_s > -far && s.offset_s < far && is_flag(s.line);
}

bool is_sound(const KvmClockState& s) {
    return s.tsc_shift > -32 && s.tsc_shift < 32 &&
           ((s.version | s.wall_version | s.steal.version) & 1) == 0 && (s.steal.msr & 0x3e) == 0;
}

bool is_sound(const PciFunctionsState& s) {
    return std::ranges::all_of(s.function,
                               [](const PciFunctionState& f) {
                                   return (f.msix_control & 0x3fff) == 0 &&
                                          (f.device_control & 0x8000) == 0 &&
                                          (f.power == 0 || f.power == 3) && is_flag(f.line_fired);
                               }) &&
           std::ranges::all_of(s.msi, [](const MsiState& m) {
               return is_flag(m.is_on) && m.log_messages < std::bit_width(max_msi_messages) &&
                      (m.address & 3) == 0;
           });
}

bool is_sound(const MsixTableState& s) {
    return s.pending >> max_guest_messages == 0 &&
           std::ranges::all_of(
               s.entry, [](const MsixEntry& e) { return e.control <= 1 && (e.address & 3) == 0; });
}

bool is_sound(const MsrState& s) { return s.reported_count <= reported_msrs; }

bool is_sound(const CpuidState& s) {
    const auto fit = [](std::span<const CpuidRange> ranges) {
        return std::ranges::all_of(
            ranges, [](const CpuidRange& r) { return r.first + r.count <= cpuid_entries; });
    };
    return s.used <= cpuid_entries && fit(s.basic) && fit(s.hypervisor) && fit(s.extended);
}

/// Any bytes will do for the others: masks, addresses and times, which are compared and never index anything.
template <typename State>
bool is_sound(const State&) {
    static_assert(std::is_same_v<State, ConsoleState> || std::is_same_v<State, AcpiPmState> ||
                  std::is_same_v<State, PciHostState> || std::is_same_v<State, InboxState> ||
                  std::is_same_v<State, AnswerState>);
    return true;
}

class Check {
  public:
    explicit Check(std::span<const ExitNumbers> exits) : exits_{exits} {}

    template <typename State>
    Check& of(const StateSlot<State>& slot) {
        const State& state = is_undone(slot.saved_in) ? slot.saved : slot.live;
        if (!why_ && !is_sound(state)) {
            constexpr auto section = describe(static_cast<const State*>(nullptr));
            why_ = Refusal{"section `{}` of the device state has impossible values", section.name};
        }
        return *this;
    }
    Check& of(const CpuState& c) {
        return of(c.vcpu)
            .of(c.offer)
            .of(c.local_apic)
            .of(c.msr)
            .of(c.kvm_clock)
            .of(c.inbox)
            .of(c.answer);
    }
    [[nodiscard]] const Refusal& why() const { return why_; }

  private:
    [[nodiscard]] bool is_undone(std::uint64_t saved_in) const {
        return saved_in != 0 && std::ranges::any_of(exits_, [saved_in](const ExitNumbers& e) {
                   return e.pending == saved_in;
               });
    }

    std::span<const ExitNumbers> exits_;
    Refusal why_;
};

}  // namespace

Refusal check_values(const VmState& s, std::span<const ExitNumbers> exits, bool has_functions) {
    const BoardState& b = s.board;
    Check check{exits};
    check.of(b.config).of(b.time).of(s.cpu).of(s.console);
    check.of(b.pic).of(b.io_apic).of(b.uart).of(b.pit).of(b.rtc).of(b.acpi_pm);
    check.of(b.pci_host).of(b.cpuid);
    if (has_functions) check.of(b.pci_functions).of(b.msix_table);
    return check.why();
}

Refusal check_values(const CpuState& s, std::span<const ExitNumbers> exits) {
    return Check{exits}.of(s).why();
}

}  // namespace margay::vmm

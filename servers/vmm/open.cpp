#include "servers/vmm/open.hpp"

#include "libipc/log.hpp"
#include "libipc/startup.hpp"
#include "proto/vmm.hpp"
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/vcpu/report.hpp"
#include "servers/vmm/vm_check.hpp"
#include "servers/vmm/vm_layout.hpp"

namespace margay::vmm {

namespace {

CpuidResult host_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    const raw::Cpuid r = raw::cpuid(leaf, subleaf);
    return {r.eax, r.ebx, r.ecx, r.edx};
}

const StartupItem& need(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

std::span<const std::byte> module(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) return {};
    return {mapped<const std::byte>(*item), item->size};
}

// State that the region does not have: all of it if the VM is new.
class Defaults final : public StateDefaults {
  public:
    explicit Defaults(const ConsoleChannel& console) : console_{console} {}

    void reset(RegionHalf& half) override {
        VmState& s = vm_state(half);
        BoardConfig config = s.board.config.live;
        if (config.tsc_khz == 0) {
            config.tsc_khz = startup().tsc_khz;
            config.epoch_s = need("epoch").value;
            config.physical_bits = 40;
            config.start_in_x2apic = 1;
            config.zero_unknown_msrs = need("unknown_msrs").value != 0;
        }
        Board::reset(s.board, config, host_cpuid);
        s.vcpu.live = {};
        s.vcpu.live.host_tsc_at_start = rdtsc();
        s.vcpu.live.offered_vector = no_vector;
        s.vcpu.live.armed_deadline_ns = vmm::no_deadline;
        GuestConsole::reset(s.console.live, console_);
    }
    Refusal check(const RegionHalf& half, std::uint64_t pending) override {
        return check_values(vm_state(const_cast<RegionHalf&>(half)), pending);
    }

  private:
    const ConsoleChannel& console_;
};

void announce(VmControl& control, VmmPhase phase) {
    control.phase.store(phase);
    if (const StartupItem* supervisor = find_startup_item("supervisor"))
        (void)signal(supervisor->slot, supervisor->value);
}

[[noreturn]] void refuse(VmControl& control, std::string_view why) {
    log("cannot take over the VM: {}\n", why);
    set_reason(control, why);
    announce(control, VmmPhase::refused);
    // The supervisor ends this program, if no exit of the guest does it before.
    (void)reply_wait({});
    fail("an exit came to a VMM that had refused its VM");
}

// A predecessor may have been stopped between taking note that the console wants a doorbell and ringing it.
void ring_doorbells(ChannelClient& console) {
    console.ring();
    if (const StartupItem* log = find_startup_item("log")) (void)signal(log->slot, log->value);
}

bool take_over(Region& region, Defaults& defaults, GuestRam& ram, VmControl& control) {
    if (region.header.magic == 0) return false;
    const Result<VcpuStatus> status = query_vcpu(need("vcpu").slot);
    if (!status) fail("the vCPU cannot be queried", status.status());
    const Attachment a = attach(region, vm_layout(), defaults,
                                status->pending ? status->sequence : 0, ram, status->sequence);
    if (a.finding == Finding::refused) refuse(control, a.why.text());
    if (a.mended != 0) log("{} damaged sections of the device state were mended\n", a.mended);
    if (a.rolled_back) ++control.rolled_back;
    // A guest that was never entered has nothing to lose, and where it starts was known to its VMM alone.
    return a.finding != Finding::blank && vm_state(region.active()).vcpu.live.started != 0;
}

void make_machine(Region& region, const StartupItem& ram, const ChannelClient& console,
                  VmControl& control) {
    VmState& devices = vm_state(region.active());
    new (machine_memory)
        Machine{{mapped<std::byte>(ram), ram.size, mapped<VcpuState>(need("state")),
                 need("vcpu").slot, &region, &devices, &control, console, need("restored").value}};
}

}  // namespace

void open_machine() {
    open_startup_log();
    auto& region = *mapped<Region>(need("devices"));
    auto& control = *mapped<VmControl>(need("control"));
    const StartupItem& ram_item = need("ram");
    const StartupItem& console_item = need("console");
    ChannelClient console{mapped<ConsoleChannel>(console_item), console_item.slot,
                          console_item.value};
    GuestRam ram{mapped<std::byte>(ram_item), ram_item.size};
    Defaults defaults{*console.channel()};

    const bool taken_over = take_over(region, defaults, ram, control);
    if (taken_over)
        ring_doorbells(console);
    else
        create(region, vm_layout(), defaults);
#if MARGAY_NEXT_STATE
    VmState& state = vm_state(region.active());
    if (taken_over) ++state.statistics.live.takeovers;
    log("{} takeovers, {} bytes transmitted\n", state.statistics.live.takeovers,
        state.board.uart.live.transmitted);
#endif
    make_machine(region, ram_item, console, control);
    if (!taken_over) {
        const std::string_view append{mapped<const char>(need("append"))};
        if (!the_machine().load_guest(module("kernel"), module("initrd"), append))
            __builtin_trap();  // it has said why: the supervisor tells it when this program has ended
    }
    announce(control, VmmPhase::serving);
}

}  // namespace margay::vmm

#include "servers/vmm/open.hpp"

#include <cstring>

#include "libipc/log.hpp"
#include "libipc/startup.hpp"
#include "proto/vmm.hpp"
#include "servers/vmm/devices/inbox.hpp"
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/state/half.hpp"
#include "servers/vmm/vcpu/function_access.hpp"
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

struct CpuItems {
    unsigned count;
    Slot first_vcpu, first_event;  // the others' follow
    bool functions;                // the VM has PCI functions
};

// Where there are several, the item has another name: a VMM that knows of one only does not take such a VM.
CpuItems find_cpus(bool functions) {
    const StartupItem* several = find_startup_item("vcpus");
    if (several == nullptr) return {1, need("vcpu").slot, no_slot, functions};
    if (several->value == 0 || several->value > max_cpus) fail("the VM has too many vCPUs");
    return {static_cast<unsigned>(several->value), several->slot, need("events").slot, functions};
}

std::uint64_t regions = 0;  // where the first one lies; looked for once, while a guest may wait

Region& region_of(unsigned cpu) {
    return *reinterpret_cast<Region*>(regions + cpu * device_state_bytes);
}

void reset_glue(VcpuGlueState& glue, std::uint64_t host_tsc) {
    glue = {};
    glue.host_tsc_at_start = host_tsc;
    glue.offered_vector = no_vector;
    glue.armed_deadline_ns = vmm::no_deadline;
}

// State that the region does not have: all of it if the VM is new.
class Defaults final : public StateDefaults {
  public:
    Defaults(const ConsoleChannel& console, unsigned cpus, bool has_functions)
        : console_{console}, cpus_{cpus}, has_functions_{has_functions} {}

    void reset(RegionHalf& half) override {
        VmState& s = vm_state(half);
        BoardConfig config = s.board.config.live;
        if (config.tsc_khz == 0) {
            config.tsc_khz = startup().tsc_khz;
            config.epoch_s = need("epoch").value;
            config.physical_bits = guest_physical_bits;
            config.zero_unknown_msrs = need("unknown_msrs").value != 0;
            if (const StartupItem* hidden = find_startup_item("hidden"))
                config.hidden_features = hidden->value & all_cpu_features;
        }
        // A build that knew of no others had one.
        if (config.cpus == 0) config.cpus = static_cast<std::uint8_t>(cpus_);
        s.cpu = {};
        Board::reset(s.board, config, host_cpuid);
        if (has_functions_ && has_lines(*mapped<const GuestFunctions>(need("functions"))))
            s.board.io_apic.live.pins = io_apic_pins;
        Board::reset(s.cpu, config, 0);
        reset_glue(s.cpu.vcpu.live, rdtsc());
        s.console = {};
        GuestConsole::reset(s.console.live, console_);
    }
    Refusal check(const RegionHalf& half, std::span<const ExitNumbers> exits) override {
        const VmState& s = vm_state(const_cast<RegionHalf&>(half));
        if (s.board.config.live.cpus != cpus_)
            return Refusal{"the VM was made with another number of vCPUs"};
        return check_values(s, exits, has_functions_);
    }

  private:
    const ConsoleChannel& console_;
    unsigned cpus_;
    bool has_functions_;
};

// The functions that the guest drives, and what is done to them; nothing where it drives none.
struct FunctionItems {
    const GuestFunctions* functions;
    FunctionHands* hands;
};

alignas(FunctionAccess) constinit std::byte function_access[sizeof(FunctionAccess)] = {};

FunctionItems find_functions(VmControl& control) {
    if (control.functions == 0) return {nullptr, nullptr};
    const auto& functions = *mapped<const GuestFunctions>(need("functions"));
    const StartupItem* parts = find_startup_item("parts");
    const StartupItem* messages = find_startup_item("messages");
    const StartupItem* lines = find_startup_item("lines");
    const StartupItem* supervisor = find_startup_item("supervisor");
    const FunctionAccess::Slots slots{parts != nullptr ? parts->slot : no_slot,
                                      need("space").slot,
                                      messages != nullptr ? messages->slot : no_slot,
                                      lines != nullptr ? lines->slot : no_slot,
                                      supervisor != nullptr ? supervisor->slot : no_slot,
                                      parts != nullptr ? parts->value : 0,
                                      messages != nullptr ? messages->value : 0,
                                      lines != nullptr ? lines->value : 0,
                                      supervisor != nullptr ? supervisor->value : 0};
    return {&functions, new (function_access) FunctionAccess{functions, control, slots}};
}

// Likewise of a further vCPU. The VM is there.
class CpuDefaults final : public StateDefaults {
  public:
    CpuDefaults(const VmState& vm, unsigned cpu) : vm_{vm}, cpu_{cpu} {}

    void reset(RegionHalf& half) override {
        CpuState& s = cpu_state(half);
        s = {};
        Board::reset(s, vm_.board.config.live, cpu_);
        reset_glue(s.vcpu.live, vm_.cpu.vcpu.live.host_tsc_at_start);
    }
    Refusal check(const RegionHalf& half, std::span<const ExitNumbers> exits) override {
        return check_values(cpu_state(const_cast<RegionHalf&>(half)), exits);
    }

  private:
    const VmState& vm_;
    unsigned cpu_;
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

// It has said why: the supervisor tells it when this program has ended.
[[noreturn]] void end_unloaded(VmControl& control) {
    control.phase.store(VmmPhase::failed);
    __builtin_trap();
}

// A predecessor may have been stopped between taking note that the console wants a doorbell and ringing it.
void ring_doorbells(ChannelClient& console) {
    console.ring();
    if (const StartupItem* log = find_startup_item("log")) (void)signal(log->slot, log->value);
}

// The number of the last exit whose answer the VMM before had written down, whatever build it was.
std::uint64_t answered_in(const Region& region, const Layout& layout) {
    if (inspect(region, layout).finding == Finding::refused || region.header.magic == 0) return 0;
    const RegionHalf& half = region.active();
    for (const SectionEntry& section : sections_of(half)) {
        if (is_leftover(section) || std::string_view{section.name} != "answer") continue;
        for (const StateField& field : fields_of(half, section)) {
            std::uint64_t number = 0;
            if (std::string_view{field.name} != "number" || field.size != sizeof(number)) continue;
            std::memcpy(&number, live(half, section) + field.offset, sizeof(number));
            return number;
        }
    }
    return 0;
}

// Of one vCPU. What is done is not undone.
ExitNumbers exit_numbers(const CpuItems& items, unsigned cpu) {
    const Result<VcpuStatus> status = query_vcpu(items.first_vcpu + cpu);
    if (!status) fail("the vCPU cannot be queried", status.status());
    const std::uint64_t last = transaction_number(cpu, status->sequence);
    // One alone writes no answers down.
    const bool is_done =
        items.count > 1 &&
        answered_in(region_of(cpu), cpu == 0 ? vm_layout(items.functions) : cpu_layout()) == last;
    return {status->pending && !is_done ? last : 0, last};
}

void check(const Attachment& a, VmControl& control) {
    if (a.finding == Finding::refused) refuse(control, a.why.text());
    if (a.mended != 0) log("{} damaged sections of the device state were mended\n", a.mended);
    if (a.rolled_back) ++control.rolled_back;
}

Cpus cpus;  // of this VM

// Takes over a region, or makes it if there is none. False: it was made.
bool attach_cpu(unsigned cpu, const ExitNumbers& exits, GuestRam& ram, VmControl& control) {
    Region& region = region_of(cpu);
    CpuDefaults defaults{vm_state(region_of(0).active()), cpu};
    bool found = false;
    if (region.header.magic != 0) {
        const Attachment a = attach(region, cpu_layout(), defaults, {&exits, 1}, ram);
        check(a, control);
        found = a.finding != Finding::blank;
    }
    if (!found) create(region, cpu_layout(), defaults);
    return found;
}

bool take_over(const CpuItems& items, Defaults& defaults, GuestRam& ram, VmControl& control) {
    Region& region = region_of(0);
    if (region.header.magic == 0) return false;
    ExitNumbers exits[max_cpus];
    for (unsigned i = 0; i < items.count; ++i) exits[i] = exit_numbers(items, i);
    const Attachment a =
        attach(region, vm_layout(items.functions), defaults, {exits, items.count}, ram);
    check(a, control);
    // A guest that was never entered has nothing to lose, and where it starts was known to its VMM alone.
    if (a.finding == Finding::blank || vm_state(region.active()).cpu.vcpu.live.started == 0)
        return false;
    for (unsigned i = 1; i < items.count; ++i) (void)attach_cpu(i, exits[i], ram, control);
    // Nobody runs who could hold the lock, and what its holder had not finished is undone.
    region.header.board_lock = 0;
    for (unsigned i = 0; i < items.count; ++i) {
        CpuState& s = i == 0 ? vm_state(region.active()).cpu : cpu_state(region_of(i).active());
        Inbox{s.inbox.live}.put_back(exits[i].pending);
    }
    return true;
}

void make_new(const CpuItems& items, Defaults& defaults) {
    create(region_of(0), vm_layout(items.functions), defaults);
    for (unsigned i = 1; i < items.count; ++i) {
        CpuDefaults of_cpu{vm_state(region_of(0).active()), i};
        create(region_of(i), cpu_layout(), of_cpu);
    }
}

void make_machines(const CpuItems& items, const StartupItem& ram, const ChannelClient& console,
                   VmControl& control, const FunctionItems& functions) {
    Region& first = region_of(0);
    VmState& vm = vm_state(first.active());
    cpus.count = items.count;
    cpus.state[0] = &vm.cpu;
    for (unsigned i = 1; i < items.count; ++i) cpus.state[i] = &cpu_state(region_of(i).active());
    const StartupItem* resumed = find_startup_item("resumed");
    const std::uint64_t sharing = items.count > 1 ? need("sharing").value : 0;
    Machine::Parts parts{mapped<std::byte>(ram),
                         ram.size,
                         0,
                         &cpus,
                         mapped<VcpuState>(need("state")),
                         items.first_vcpu,
                         items.first_event,
                         &first,
                         &vm,
                         items.count > 1 ? &first.header.board_lock : nullptr,
                         (sharing & 1) != 0,
                         &control,
                         console,
                         functions.functions,
                         functions.hands,
                         need("restored").value,
                         resumed != nullptr ? resumed->value : 0};
    new (machine_memory) Machine{parts};
    for (unsigned i = 1; i < items.count; ++i) {
        parts.cpu = i;
        parts.shares_core = (sharing >> i & 1) != 0;
        parts.state = reinterpret_cast<VcpuState*>(vmm_further_states_address + i * page_size);
        parts.vcpu = items.first_vcpu + i;
        parts.region = &region_of(i);
        new (&further_machine(i)) Machine{parts};
    }
}

}  // namespace

void open_machine() {
    open_startup_log();
    auto& control = *mapped<VmControl>(need("control"));
    regions = need("devices").address;
    const StartupItem& ram_item = need("ram");
    const StartupItem& console_item = need("console");
    const CpuItems items = find_cpus(control.functions != 0);
    ChannelClient console{mapped<ConsoleChannel>(console_item), console_item.slot,
                          console_item.value};
    GuestRam ram{mapped<std::byte>(ram_item), ram_item.size};
    Defaults defaults{*console.channel(), items.count, items.functions};

    const bool taken_over = take_over(items, defaults, ram, control);
    if (taken_over)
        ring_doorbells(console);
    else
        make_new(items, defaults);
#if MARGAY_NEXT_STATE
    VmState& state = vm_state(region_of(0).active());
    if (taken_over) ++state.statistics.live.takeovers;
    log("{} takeovers, {} bytes transmitted\n", state.statistics.live.takeovers,
        state.board.uart.live.transmitted);
#endif
    make_machines(items, ram_item, console, control, find_functions(control));
    the_machine().open_functions();
    if (!taken_over) {
        const std::string_view append{mapped<const char>(need("append"))};
        if (!the_machine().load_guest(module("kernel"), module("initrd"), append))
            end_unloaded(control);
    }
    announce(control, VmmPhase::serving);
}

}  // namespace margay::vmm

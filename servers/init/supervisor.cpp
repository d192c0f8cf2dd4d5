#include "servers/init/supervisor.hpp"

#include <algorithm>

#include "libipc/log.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

namespace {

// VMs share these bits of the node's Event; the others are node_bit's.
constexpr unsigned vm_bits = 32;
// How much longer than a piece of work the pause after it is if nobody waits for the work.
constexpr std::uint64_t leisure = 3;

}  // namespace

Supervisor::Supervisor(Node& node, Services& services, const Manifest& manifest)
    : node_{node}, services_{services}, event_{services.node_event()}, count_{manifest.vm_count} {
    for (unsigned i = 0; i < count_; ++i) {
        const Connections to{services.terminal(i),     services.vmm_log(i),
                             services.console_event(), services.node_event(),
                             services.guest_event(i),  1ull << i % vm_bits};
        vms_[i].configure(node, manifest.vms[i], to);
    }
}

void Supervisor::start_all() {
    for (unsigned i = 0; i < count_; ++i) {
        const VmConfig& c = vms_[i].config();
        log("margay: starting guest {}: {} MiB on core {}\n", c.name, c.memory_mib, c.core);
        (void)vms_[i].start();
    }
}

std::uint64_t Supervisor::work() {
    Work most = Work::none;
    unsigned chosen = 0;
    for (unsigned k = 1; k <= count_; ++k) {
        const unsigned i = (last_worked_ + k) % count_;
        if (vms_[i].work() <= most) continue;
        most = vms_[i].work();
        chosen = i;
    }
    if (most == Work::none) return no_deadline;
    const std::uint64_t begin = rdtsc();
    if (most != Work::urgent && begin < next_piece_) return next_piece_;
    last_worked_ = chosen;
    vms_[chosen].do_piece();
    if (most == Work::urgent) return 0;
    // Guests share this core: they get as much of it as this takes, or more if nobody waits.
    const std::uint64_t end = rdtsc(), took = end - begin;
    next_piece_ = end + (most == Work::copy ? took : leisure * took);
    return next_piece_;
}

std::uint64_t Supervisor::serve() {
    std::uint64_t deadline = work(), mine = 0;
    for (unsigned i = 0; i < count_; ++i) {
        deadline = std::min(deadline, vms_[i].next_look());
        mine |= vms_[i].event_mask();
    }
    // A deadline that has passed still takes what was signalled.
    const Result<std::uint64_t> signalled = wait(event_, deadline);
    const std::uint64_t bits = signalled ? *signalled : 0, now = rdtsc();
    for (unsigned i = 0; i < count_; ++i)
        if ((bits & vms_[i].event_mask()) != 0 || now >= vms_[i].next_look()) vms_[i].look();
    return bits & ~mine;
}

bool Supervisor::any_active() const {
    for (unsigned i = 0; i < count_; ++i)
        if (vms_[i].life().is_active()) return true;
    return false;
}

bool Supervisor::all_well() const {
    for (unsigned i = 0; i < count_; ++i)
        if (vms_[i].life().state() == VmState::failed) return false;
    return true;
}

VmInfo Supervisor::vm_info(unsigned index) {
    const Vm& vm = vms_[index];
    VmInfo info;
    info.name = vm.config().name;
    const VmLife& life = vm.life();
    switch (life.state()) {
    case VmState::shut_off: info.phase = VmPhase::shut_off; break;
    case VmState::starting: info.phase = VmPhase::starting; break;
    case VmState::frozen: info.phase = VmPhase::frozen; break;
    case VmState::failed: info.phase = VmPhase::failed; break;
    case VmState::running:
        info.phase = life.is_suspended() ? VmPhase::suspended
                     : life.service() == Service::serving || life.service() == Service::finishing
                         ? VmPhase::running
                         : VmPhase::restarting;
    }
    info.core = static_cast<unsigned>(vm.config().core);
    info.memory_mib = vm.config().memory_mib;
    info.exits = vm.exits();
    info.vmm = life.vmm();
    info.restarts = life.restarts();
    info.rolled_back = vm.rolled_back();
    info.blackout_ns = vm.blackout_ns();
    info.saved = vm.checkpoint().is_taken();
    info.saved_bytes = vm.checkpoint().bytes();
    // What went wrong with an operation was its answer; it says nothing about a VM that runs.
    if (life.state() != VmState::running) copy_text(info.reason, life.reason());
    return info;
}

const BootExtent* Supervisor::module_at(unsigned index) const {
    const BootInfo& info = node_.info();
    for (unsigned i = 0; i < info.extents; ++i)
        if (info.extent[i].use == ExtentUse::module && index-- == 0) return &info.extent[i];
    return nullptr;
}

unsigned Supervisor::module_count() {
    unsigned count = 0;
    while (module_at(count) != nullptr) ++count;
    return count;
}

ModuleInfo Supervisor::module(unsigned index) {
    const BootExtent* m = module_at(index);
    return {m->name, m->length};
}

NodeInfo Supervisor::node_info() {
    NodeInfo info;
    info.cores = node_.info().cores;
    if (const Result<MemoryUse> memory = query_memory_use(services_.pmem())) {
        info.memory_free = memory->free;
        info.memory_used = memory->used;
        info.memory_extents = memory->extents;
    }
    info.slots = node_.slots_in_use();
    info.windows = node_.windows_in_use();
    return info;
}

Failure Supervisor::carry_out(const Command& command, Vm& vm) {
    char module[max_name] = {};
    const std::string_view name = command[Parameter::module];
    for (std::size_t i = 0; i < name.size() && i + 1 < sizeof(module); ++i) module[i] = name[i];
    switch (command.action) {
    case Action::start: return vm.start();
    case Action::destroy: return vm.destroy();
    case Action::reset: return vm.reset();
    case Action::suspend: return vm.suspend();
    case Action::resume: return vm.resume();
    case Action::save: return vm.save();
    case Action::restore: return vm.restore();
    case Action::vmm_restart: return vm.replace_vmm(nullptr);
    case Action::vmm_swap: return vm.replace_vmm(module);
    default: break;
    }
    Failure f;
    f.set(FailureKind::wrong_state, "it cannot be done");
    return f;
}

Outcome Supervisor::execute(const Command& command, unsigned vm) {
    if (command.action == Action::shutdown) {
        ending_ = true;
        return {};
    }
    if (vm >= count_) return {false, "there is no such VM", false, 0, FailureKind::not_found};
    if (command.action == Action::console) {
        services_.attach_console(vm);
        return {};
    }
    const VmLife& life = vms_[vm].life();
    const unsigned before = life.ticket();
    failure_ = carry_out(command, vms_[vm]);
    if (failure_.is_set()) return {false, failure_.text, false, 0, failure_.kind};
    if (life.ticket() == before) return {};
    return outcome(vm, life.ticket());
}

Outcome Supervisor::outcome(unsigned vm, unsigned ticket) {
    if (vm >= count_) return {false, "there is no such VM", false, 0, FailureKind::not_found};
    const VmLife& life = vms_[vm].life();
    if (life.ticket() != ticket)
        return {false, "another command took its place", false, 0, FailureKind::busy};
    if (life.task() != Task::none) return {true, "", true, ticket};
    failure_ = life.ended();
    return failure_.is_set() ? Outcome{false, failure_.text, false, 0, failure_.kind} : Outcome{};
}

}  // namespace margay::init

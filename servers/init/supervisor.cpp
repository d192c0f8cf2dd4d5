#include "servers/init/supervisor.hpp"

#include "libipc/log.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

Supervisor::Supervisor(Node& node, Services& services, const Manifest& manifest)
    : node_{node}, services_{services}, count_{manifest.vm_count} {
    events_.use(services.node_event());
    for (unsigned i = 0; i < count_; ++i) {
        const Connections to{services.terminal(i), services.vmm_log(i), services.console_event(),
                             services.node_event(), services.guest_event(i)};
        vms_[i].configure(node, manifest.vms[i], to, events_, i);
    }
}

void Supervisor::start_all() {
    for (unsigned i = 0; i < count_; ++i) {
        const VmConfig& c = vms_[i].config();
        log("margay: starting guest {}: {} MiB on core {}\n", c.name, c.memory_mib, c.core);
        (void)vms_[i].start();
    }
}

std::uint64_t Supervisor::serve() {
    std::uint64_t deadline = no_deadline, mine = 0;
    for (unsigned i = 0; i < count_; ++i) {
        if (vms_[i].next_look() < deadline) deadline = vms_[i].next_look();
        mine |= vms_[i].event_mask();
    }
    const std::uint64_t bits = events_.wait(~0ull, deadline);
    const std::uint64_t now = rdtsc();
    for (unsigned i = 0; i < count_; ++i) {
        if ((bits & vms_[i].event_mask()) != 0) vms_[i].take(bits);
        vms_[i].look(now);
    }
    return bits & ~mine;
}

bool Supervisor::any_active() const {
    for (unsigned i = 0; i < count_; ++i)
        if (vms_[i].state() == VmState::running || vms_[i].state() == VmState::frozen) return true;
    return false;
}

bool Supervisor::all_well() const {
    for (unsigned i = 0; i < count_; ++i)
        if (vms_[i].state() == VmState::failed) return false;
    return true;
}

VmInfo Supervisor::vm_info(unsigned index) {
    const Vm& vm = vms_[index];
    VmInfo info;
    info.name = vm.config().name;
    switch (vm.state()) {
    case VmState::shut_off: info.phase = VmPhase::shut_off; break;
    case VmState::frozen: info.phase = VmPhase::frozen; break;
    case VmState::failed: info.phase = VmPhase::failed; break;
    case VmState::running:
        info.phase = vm.is_suspended()    ? VmPhase::suspended
                     : vm.is_restarting() ? VmPhase::restarting
                                          : VmPhase::running;
    }
    info.core = static_cast<unsigned>(vm.config().core);
    info.memory_mib = vm.config().memory_mib;
    info.exits = vm.exits();
    info.vmm = vm.vmm_module();
    info.restarts = vm.restarts();
    info.rolled_back = vm.rolled_back();
    info.blackout_ns = vm.blackout_ns();
    info.saved = vm.checkpoint().is_taken();
    info.saved_bytes = vm.checkpoint().bytes();
    // What went wrong with an operation was its answer; it says nothing about a VM that runs.
    if (vm.state() != VmState::running) copy_text(info.reason, vm.reason());
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

const char* Supervisor::carry_out(const Command& command, Vm& vm) {
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
    default: return "it cannot be done";
    }
}

Outcome Supervisor::execute(const Command& command, unsigned vm) {
    if (command.action == Action::shutdown) {
        ending_ = true;
        return {};
    }
    if (vm >= count_) return {false, "there is no such VM"};
    if (command.action == Action::console) {
        services_.attach_console(vm);
        return {};
    }
    const char* why = carry_out(command, vms_[vm]);
    return why == nullptr ? Outcome{} : Outcome{false, why};
}

}  // namespace margay::init

#include "servers/init/vmm_process.hpp"

#include "libipc/mapping.hpp"
#include "proto/vmm.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

Status VmmProcess::give_module(std::string_view item, const char* module, std::uint64_t address) {
    const BootExtent* m = node_->module(module);
    if (m == nullptr)
        return fail_with(item == "kernel" ? "its boot module `kernel` is missing"
                                          : "its boot module `initrd` is missing",
                         Status::not_found);
    // At an address that agrees with the physical one, for large pages.
    const Status s =
        program_->give_mapping(item, {m->slot, m->base, m->size}, address + m->base % large_page,
                               map_right::read, 0, m->length);
    return s == Status::ok ? s : fail_with("a boot module of it cannot be mapped", s);
}

Status VmmProcess::give(const VmConfig& config, const Guest& guest, const Connections& to) {
    constexpr std::uint64_t rw = map_right::read | map_right::write;
    Program& p = *program_;
    Status s = give_module("kernel", config.kernel, vmm_kernel_address);
    if (s == Status::ok && config.initrd[0] != 0)
        s = give_module("initrd", config.initrd, vmm_initrd_address);
    if (s != Status::ok) return s;
    s = p.give_mapping("ram", guest.ram, vmm_ram_address, rw);
    if (s == Status::ok) s = p.give_mapping("state", guest.state_page, vmm_state_address, rw);
    if (s == Status::ok) s = p.give_mapping("control", guest.control_page, vmm_control_address, rw);
    if (s == Status::ok)
        s = p.give_mapping("append", guest.texts, vmm_append_address, map_right::read);
    if (s == Status::ok) s = p.give_mapping("devices", guest.devices, vmm_devices_address, rw);
    if (s == Status::ok)
        s = p.give_channel("console", to.terminal.memory, vmm_console_address, to.console_event,
                           to.terminal.bit);
    if (s == Status::ok)
        s = p.give_channel("log", to.log.memory, vmm_log_address, to.console_event, to.log.bit);
    if (s == Status::ok) s = p.give_capability("vcpu", guest.vcpu, right::inspect);
    return s == Status::ok ? s : fail_with("its VMM cannot be given what it needs", s);
}

Status VmmProcess::load(Node& node, const VmConfig& config, const char* module, const Guest& guest,
                        const Connections& to, std::uint64_t deaths, std::uint64_t news,
                        std::uint64_t epoch, std::uint64_t restarts, std::uint64_t restored) {
    node_ = &node;
    copy_text(module_, module);
    ProgramOptions options;
    options.module = module_;
    options.name = config.name;
    options.core = static_cast<unsigned>(config.core);
    options.priority = vm_priority;
    program_.emplace(node, options);
    Status s = program_->load();
    if (s != Status::ok) return fail_with(program_->why(), s);
    s = give(config, guest, to);
    if (s != Status::ok) return s;
    s = program_->give_capability("supervisor", to.node_event, right::signal, news, news);
    if (s != Status::ok) return fail_with("its VMM cannot be given what it needs", s);
    program_->give_value("epoch", epoch);
    program_->give_value("restart", restarts);
    program_->give_value("restored", restored);
    s = program_->make_thread(to.node_event, deaths);
    return s == Status::ok ? s : fail_with("its VMM's thread cannot be created", s);
}

Status VmmProcess::serve(const Guest& guest) {
    guest.control->phase.store(VmmPhase::starting);
    Status s = portal_ctl(guest.portal, PortalOp::bind, program_->thread());
    if (s == Status::ok) s = program_->start();
    return s == Status::ok ? s : fail_with("its VMM cannot be started", s);
}

void VmmProcess::release() {
    if (!program_) return;
    program_->release();
    program_.reset();
}

}  // namespace margay::init

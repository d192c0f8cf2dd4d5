#include "servers/init/vmm_process.hpp"

#include "libipc/mapping.hpp"
#include "proto/vmm.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

Status VmmProcess::give_module(std::string_view item, const char* module, std::uint64_t address) {
    const Module* m = node_->module(module);
    if (m == nullptr)
        return fail_with(item == "kernel" ? "its module `kernel` is missing"
                                          : "its module `initrd` is missing",
                         Status::not_found);
    const Status s = program_->give_module(item, *m, address);
    return s == Status::ok ? s : fail_with("a module of it cannot be mapped", s);
}

// One thing at a time.
Status VmmProcess::give(bool& done) {
    constexpr std::uint64_t rw = map_right::read | map_right::write;
    Program& p = *program_;
    const Guest& guest = *guest_;
    const Connections& to = *to_;
    switch (given_++) {
    // Its files are in the guest's memory once the guest has run.
    case 0:
        return guest.needs_files ? give_module("kernel", config_->kernel, vmm_kernel_address)
                                 : Status::ok;
    case 1:
        if (!guest.needs_files || config_->initrd[0] == 0) return Status::ok;
        return give_module("initrd", config_->initrd, vmm_initrd_address);
    case 2: return p.give_mapping("ram", guest.ram, vmm_ram_address, rw);
    case 3: return p.give_mapping("state", guest.state_page, vmm_state_address, rw);
    case 4: return p.give_mapping("control", guest.control_page, vmm_control_address, rw);
    case 5: return p.give_mapping("append", guest.texts, vmm_append_address, map_right::read);
    case 6: return p.give_mapping("devices", guest.devices, vmm_devices_address, rw);
    case 7:
        return p.give_channel("console", to.terminal.memory, vmm_console_address, to.console_event,
                              to.terminal.bit);
    case 8:
        return p.give_channel("log", to.log.memory, vmm_log_address, to.console_event, to.log.bit);
    case 9: return p.give_capability("vcpu", guest.vcpu, right::inspect);
    case 10: return p.give_capability("supervisor", to.node_event, right::signal, to.bit, to.bit);
    default: done = true; return p.make_thread(to.node_event, to.bit, true);
    }
}

void VmmProcess::begin(Node& node, const VmConfig& config, const char* module, const Guest& guest,
                       const Connections& to) {
    release();
    node_ = &node;
    config_ = &config;
    guest_ = &guest;
    to_ = &to;
    given_ = 0;
    copy_text(module_, module);
    ProgramOptions options;
    options.module = module_;
    options.name = config.name;
    options.core = static_cast<unsigned>(config.core);
    options.priority = vm_priority;
    program_.emplace(node, options);
}

Status VmmProcess::load_piece(bool& done) {
    done = false;
    why_ = "";
    if (!program_->is_loaded()) {
        const Status s = program_->load_piece();
        return s == Status::ok ? s : fail_with(program_->why(), s);
    }
    const Status s = give(done);
    return s == Status::ok || why_[0] != 0 ? s
                                           : fail_with("its VMM cannot be given what it needs", s);
}

Status VmmProcess::serve(const Guest& guest, const VmmStart& start) {
    program_->give_value("unknown_msrs", config_->zero_unknown_msrs ? 1 : 0);
    program_->give_value("epoch", start.epoch);
    program_->give_value("restart", start.restarts);
    program_->give_value("restored", start.restored);
    guest.control->phase.store(VmmPhase::starting);
    Status s = portal_ctl(guest.portal, PortalOp::bind, program_->thread());
    if (s == Status::ok) s = program_->start();
    return s == Status::ok ? s : fail_with("its VMM cannot be started", s);
}

bool VmmProcess::is_dead() const {
    return program_ &&
           read_register(program_->thread(), ThreadRegister::rip).status() == Status::ok;
}

void VmmProcess::release() {
    if (!program_) return;
    program_->release();
    program_.reset();
}

}  // namespace margay::init

#include "servers/init/vmm_process.hpp"

#include "libipc/mapping.hpp"
#include "proto/exception.hpp"
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

namespace {
// Of give(): from here on, one further vCPU with each.
constexpr unsigned first_further_step = 16;
}  // namespace

// One thing at a time.
Status VmmProcess::give(bool& done) {
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
    case 2: return p.give_mapping("ram", guest.ram, vmm_ram_address, map_right::read_write);
    case 3:
        return p.give_mapping("state", guest.first.state_page, vmm_state_address,
                              map_right::read_write);
    case 4:
        return p.give_mapping("control", guest.control_page, vmm_control_address,
                              map_right::read_write);
    case 5: return p.give_mapping("append", guest.texts, vmm_append_address, map_right::read);
    case 6:
        return p.give_mapping("devices", guest.first.devices, vmm_devices_address,
                              map_right::read_write);
    case 7:
        return p.give_channel("console", to.terminal.memory, vmm_console_address, to.console_event,
                              to.terminal.bit);
    case 8:
        return p.give_channel("log", to.log.memory, vmm_log_address, to.console_event, to.log.bit);
    case 9:
        if (guest.cpus() == 1) return p.give_capability("vcpu", guest.first.vcpu, right::inspect);
        return p.give_capabilities(
            "vcpus", guest.cpus(), [&guest](unsigned i) { return guest.cpu(i).vcpu; },
            right::inspect);
    case 10: return p.give_capability("supervisor", to.node_event, right::signal, to.bit, to.bit);
    case 11:
        if (guest.cpus() == 1) return Status::ok;
        return p.give_capabilities(
            "events", guest.cpus(), [&guest](unsigned i) { return guest.cpu(i).event; },
            right::signal, recall_bit::peer);
    case 12: {
        if (guest.cpus() == 1) return Status::ok;
        const Status s = further_.make(p.holdings(), guest.cpus() - 1);
        return s == Status::ok ? p.give_room(vmm_machines_address + vmm_machine_bytes,
                                             (guest.cpus() - 1) * vmm_machine_bytes)
                               : s;
    }
    case 13: return give_devices();
    case 14:
        if (guest.cpus() > 1) p.give_value("sharing", guest.sharing());
        return p.make_thread(to.node_event, to.bit, true);
    default: {
        const unsigned number = given_ - first_further_step;
        done = number + 1 >= guest.cpus();
        return number == 0 || number >= guest.cpus() ? Status::ok : give_cpu(number);
    }
    }
}

// What it needs for the PCI functions that the guest drives.
Status VmmProcess::give_devices() {
    if (devices_->count() == 0) return Status::ok;
    Program& p = *program_;
    const GuestFunctions& all = devices_->description();
    Status s =
        p.give_mapping("functions", devices_->page(), vmm_functions_address, map_right::read);
    unsigned open[max_function_parts], count = 0;
    for (unsigned i = 0; i < all.parts && s == Status::ok; ++i) {
        if (all.part[i].is_trapped != 0)
            s = p.map_at(devices_->part(i), all.part[i].address, map_right::read_write);
        else
            open[count++] = i;
    }
    if (s == Status::ok)
        s = p.give_capabilities(
            "parts", count, [&](unsigned i) { return devices_->part(open[i]).slot; },
            right::read | right::write);
    if (s == Status::ok)
        s = p.give_capabilities(
            "messages", devices_->messages(), [this](unsigned i) { return devices_->message(i); },
            right::control);
    if (s == Status::ok && devices_->lines() != 0)
        s = p.give_capabilities(
            "lines", devices_->lines(), [this](unsigned i) { return devices_->line(i); },
            right::control);
    return s == Status::ok ? p.give_capability("space", guest_->space, right::map) : s;
}

// What a further vCPU needs.
Status VmmProcess::give_cpu(unsigned number) {
    const GuestCpu& cpu = guest_->cpu(number);
    Program& p = *program_;
    Status s = p.map_at(cpu.state_page, vmm_further_states_address + number * page_size,
                        map_right::read_write);
    if (s == Status::ok)
        s = p.map_at(cpu.devices, vmm_devices_address + number * device_state_bytes,
                     map_right::read_write);
    if (s != Status::ok || guest_->leader(number) != number) return s;
    FurtherThread& t = further_[number - 1];
    t.number = number;
    t.holdings.use(*node_);
    s = p.make_further_thread(t.holdings, t.thread, cpu.core, number, to_->node_event, to_->bit);
    return s;
}

void VmmProcess::begin(Node& node, const VmConfig& config, const char* module, const Guest& guest,
                       const GuestDevices& devices, const Connections& to) {
    release();
    node_ = &node;
    config_ = &config;
    guest_ = &guest;
    devices_ = &devices;
    to_ = &to;
    given_ = 0;
    ended_ = no_slot;
    is_started_ = false;
    copy_text(module_, module);
    ProgramOptions options;
    options.module = module_;
    options.name = config.name;
    options.core = guest.first.core;
    options.mappings += 3 * guest.cpus();
    options.slots += 2 * guest.cpus();
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
    CpuModel model;
    (void)parse_cpu_model(config_->cpu, model);
    program_->give_value("hidden", model.hidden);
    program_->give_value("epoch", start.epoch);
    program_->give_value("restart", start.restarts);
    program_->give_value("restored", start.restored);
    program_->give_value("resumed", start.resumed);
    guest.control->phase.store(VmmPhase::starting);
    Status s = bind(guest);
    if (s == Status::ok) s = program_->start();
    is_started_ = s == Status::ok;
    return s == Status::ok ? s : fail_with("its VMM cannot be started", s);
}

Slot VmmProcess::thread_for(unsigned number) const {
    const unsigned leader = guest_->leader(number);
    return leader == 0 ? program_->thread() : further_[leader - 1].thread;
}

Status VmmProcess::bind(const Guest& guest) {
    Status s = Status::ok;
    for (unsigned i = 0; s == Status::ok && i < guest.cpus(); ++i)
        s = portal_ctl(guest.cpu(i).portal, PortalOp::bind, thread_for(i));
    return s;
}

void VmmProcess::serve_further() {
    for (FurtherThread& t : further_) {
        if (t.number == 0 || t.is_started) continue;
        t.is_started = thread_ctl(t.thread, ThreadOp::start) == Status::ok;
    }
}

void VmmProcess::kill() {
    (void)thread_ctl(program_->thread(), ThreadOp::kill);
    for (const FurtherThread& t : further_)
        if (t.thread != no_slot) (void)thread_ctl(t.thread, ThreadOp::kill);
}

bool VmmProcess::is_dead() {
    if (!program_ || !is_started_) return false;
    if (ended_ != no_slot) return true;
    const auto has_ended = [](Slot thread) {
        return read_register(thread, ThreadRegister::rip).status() == Status::ok;
    };
    if (has_ended(program_->thread())) ended_ = program_->thread();
    for (const FurtherThread& t : further_)
        if (ended_ == no_slot && t.is_started && has_ended(t.thread)) ended_ = t.thread;
    // What is left of it would work on beside its successor.
    if (ended_ != no_slot && further_.size() != 0) kill();
    return ended_ != no_slot;
}

std::optional<unsigned> VmmProcess::faulted() const {
    const Result<std::uint64_t> vector =
        read_register(thread_of_interest(), ThreadRegister::fault_vector);
    if (!vector || *vector == no_fault) return std::nullopt;
    for (const FurtherThread& t : further_)
        if (t.number != 0 && t.thread == ended_) return t.number;
    return 0;
}

bool VmmProcess::release_piece() {
    if (!program_) return true;
    for (FurtherThread& t : further_)
        if (t.number != 0 && !t.holdings.release_piece()) return false;
    further_.clear();  // it lies in what the program holds
    if (!program_->release_piece()) return false;
    release();
    return true;
}

void VmmProcess::release() {
    if (!program_) return;
    for (FurtherThread& t : further_)
        if (t.number != 0) t.holdings.release();
    further_.clear();
    program_->release();
    program_.reset();
}

}  // namespace margay::init

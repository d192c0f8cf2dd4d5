#include "servers/init/vm.hpp"

#include <cstring>

#include "libipc/mapping.hpp"
#include "proto/vmm.hpp"
#include "servers/init/clock.hpp"
#include "support/address.hpp"

namespace margay::init {

namespace {

// The vCPU and its VMM give way to pmem, init and the console.
constexpr unsigned vm_priority = 16;
constexpr std::uint64_t space_mappings = 64;
constexpr std::uint64_t space_table_bytes = 1 << 20;

// What the handler of a class needs beside the message. Port, CPUID, MSR and hypercall exits carry
// everything in registers.
std::uint64_t wanted_state(ExitClass c) {
    using namespace state;
    switch (c) {
    case ExitClass::startup: return all;
    case ExitClass::cpuid:
    case ExitClass::msr: return gpr_low;
    case ExitClass::mmio: return gpr_low | gpr_mid | gpr_high | rip | rflags | segments | control;
    case ExitClass::control_register:
    case ExitClass::exception:
    case ExitClass::shutdown:
    case ExitClass::invalid_state:
    case ExitClass::other: return all & ~(event | intercepts);
    default: return 0;
    }
}

// Unix time of the node, from its CMOS clock.
std::uint64_t node_epoch() { return read_clock(init_slot::ports); }

}  // namespace

Status Vm::map_guest_ram() {
    const std::uint64_t low = ram_.size < guest_low_ram_limit ? ram_.size : guest_low_ram_limit;
    constexpr std::uint64_t rights = map_right::read | map_right::write | map_right::execute;
    Status s = map_all(ram_, space_, 0, 0, low, rights);
    if (s == Status::ok && ram_.size > low)
        s = map_all(ram_, space_, guest_high_ram, low, ram_.size - low, rights);
    return s;
}

Status Vm::create_guest(Node& node, Slot node_event, std::uint64_t bit, Slot guest_event) {
    const std::uint64_t bytes = config_->memory_mib << 20;
    const std::uint64_t gib = 1ull << 30;
    Result<Extent> ram = node.allocate(bytes, bytes >= gib ? gib : 2 << 20);
    // A whole page of 1 GiB is a wish, not a need.
    if (!ram && bytes >= gib) ram = node.allocate(bytes, 2 << 20);
    if (!ram) return fail_with("there is not that much memory (memory_mib)", ram.status());
    ram_ = *ram;

    const Result<Extent> storage = node.allocate(
        space_overhead + align_up(space_mappings * mapping_bytes, page_size) + space_table_bytes);
    if (!storage) return fail_with("no memory for its address space", storage.status());
    space_ = node.new_slot();
    Status s = margay::create(ObjectType::space, space_, storage->slot, space_mappings);
    if (s != Status::ok) return fail_with("its address space cannot be created", s);
    s = map_guest_ram();
    if (s != Status::ok) return fail_with("its memory cannot be mapped", s);

    const Result<Extent> page = node.allocate(page_size);
    const Result<Extent> vcpu_storage = node.allocate(storage_vcpu);
    if (!page || !vcpu_storage) return fail_with("no memory for its vCPU", Status::no_memory);
    state_page_ = *page;
    vcpu_ = node.new_slot();
    const Slot core = init_slot::first_core + static_cast<Slot>(config_->core);
    s = create_vcpu(vcpu_, vcpu_storage->slot, space_, core, vm_priority, state_page_.slot);
    if (s == Status::ok) s = vcpu_ctl(vcpu_, VcpuOp::set_death_event, node_event, bit);
    if (s == Status::ok) s = vcpu_ctl(vcpu_, VcpuOp::bind_event, guest_event);
    return s == Status::ok ? s : fail_with("its vCPU cannot be created", s);
}

Status Vm::give_module(Node& node, Program& vmm, std::string_view item, const char* module,
                       std::uint64_t address) {
    const BootExtent* m = node.module(module);
    if (m == nullptr)
        return fail_with(item == "kernel" ? "its boot module `kernel` is missing"
                                          : "its boot module `initrd` is missing",
                         Status::not_found);
    // At an address that agrees with the physical one, for large pages.
    const Status s =
        vmm.give_mapping(item, {m->slot, m->base, m->size}, address + m->base % large_page,
                         map_right::read, 0, m->length);
    return s == Status::ok ? s : fail_with("a boot module of it cannot be mapped", s);
}

Status Vm::give(Node& node, Program& vmm, const Channel& terminal, const Channel& log,
                Slot console_event) {
    constexpr std::uint64_t rw = map_right::read | map_right::write;
    const Result<Extent> devices = node.allocate(device_state_bytes);
    const Result<Extent> control = node.allocate(page_size);
    const Result<Extent> append = node.allocate(page_size);
    if (!devices || !control || !append)
        return fail_with("no memory for its state", Status::no_memory);
    devices_ = *devices, control_page_ = *control, append_ = *append;
    const Result<std::uint64_t> here = node.map_here(control_page_, rw);
    const Result<std::uint64_t> text = node.map_here(append_, rw);
    const Result<std::uint64_t> state = node.map_here(devices_, rw);
    if (!here || !text || !state) return fail_with("its state cannot be mapped", here.status());
    control_ = reinterpret_cast<VmControl*>(*here);
    std::memset(reinterpret_cast<void*>(*here), 0, page_size);
    std::memset(reinterpret_cast<void*>(*text), 0, page_size);
    std::memset(reinterpret_cast<void*>(*state), 0, device_state_bytes);
    std::memcpy(reinterpret_cast<void*>(*text), config_->append, sizeof(config_->append));

    Status s = give_module(node, vmm, "kernel", config_->kernel, vmm_kernel_address);
    if (s == Status::ok && config_->initrd[0] != 0)
        s = give_module(node, vmm, "initrd", config_->initrd, vmm_initrd_address);
    if (s != Status::ok) return s;
    s = vmm.give_mapping("ram", ram_, vmm_ram_address, rw);
    if (s == Status::ok) s = vmm.give_mapping("state", state_page_, vmm_state_address, rw);
    if (s == Status::ok) s = vmm.give_mapping("control", control_page_, vmm_control_address, rw);
    if (s == Status::ok)
        s = vmm.give_mapping("append", append_, vmm_append_address, map_right::read);
    if (s == Status::ok) s = vmm.give_mapping("devices", devices_, vmm_devices_address, rw);
    if (s == Status::ok)
        s = vmm.give_channel("console", terminal.memory, vmm_console_address, console_event,
                             terminal.bit);
    if (s == Status::ok)
        s = vmm.give_channel("log", log.memory, vmm_log_address, console_event, log.bit);
    if (s == Status::ok) s = vmm.give_capability("vcpu", vcpu_, right::control);
    vmm.give_value("restart", 0);
    vmm.give_value("epoch", node_epoch());
    return s == Status::ok ? s : fail_with("its VMM cannot be given what it needs", s);
}

Status Vm::create(Node& node, const VmConfig& config, const Channel& terminal, const Channel& log,
                  Slot console_event, Slot node_event, std::uint64_t bit, Slot guest_event) {
    config_ = &config;
    if (config.core >= node.info().cores)
        return fail_with("the node has no such core (core)", Status::bad_argument);
    if (node.info().virtualization == 0)
        return fail_with("this machine has no SVM, or its firmware disables it",
                         Status::not_supported);
    Status s = create_guest(node, node_event, bit, guest_event);
    if (s != Status::ok) return s;

    ProgramOptions options;
    options.module = config.vmm;
    options.name = config.name;
    options.core = static_cast<unsigned>(config.core);
    options.priority = vm_priority;
    Program vmm{node, options};
    s = vmm.load();
    if (s != Status::ok) return fail_with(vmm.why(), s);
    s = give(node, vmm, terminal, log, console_event);
    if (s != Status::ok) return s;
    s = vmm.make_thread(node_event, bit);
    if (s != Status::ok) return fail_with("its VMM's thread cannot be created", s);

    const Result<Extent> storage = node.allocate(storage_small);
    if (!storage) return fail_with("no memory for its portal", storage.status());
    portal_ = node.new_slot();
    const Slot core = init_slot::first_core + static_cast<Slot>(config.core);
    s = create_portal(portal_, storage->slot, vmm.thread(), core);
    for (unsigned c = 0; s == Status::ok && c < exit_classes; ++c) {
        const auto exit_class = static_cast<ExitClass>(c);
        s = bind_row(vcpu_, exit_class, portal_, wanted_state(exit_class));
    }
    if (s == Status::ok) s = vmm.start();
    if (s == Status::ok) s = vcpu_ctl(vcpu_, VcpuOp::start);
    if (s != Status::ok) return fail_with("its vCPU cannot be started", s);
    running_ = true;
    return s;
}

}  // namespace margay::init

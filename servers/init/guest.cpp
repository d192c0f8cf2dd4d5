#include "servers/init/guest.hpp"

#include <cstring>
#include <new>

#include "libipc/mapping.hpp"
#include "proto/vmm.hpp"
#include "servers/init/text.hpp"
#include "servers/init/wanted_state.hpp"
#include "support/address.hpp"

namespace margay::init {

namespace {

constexpr std::uint64_t space_mappings = 64;
constexpr std::uint64_t space_table_bytes = 1 << 20;
// With pages of 2 MiB.
constexpr std::uint64_t bytes_per_table = 1 << 30;
constexpr std::uint64_t bytes_per_mapping = max_map_leaves / 2 * large_page;
constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t rw = map_right::read | map_right::write;

}  // namespace

Status Guest::fail_without_memory(const char* what, Status s) {
    if (s != Status::no_memory) return fail_with(what, s);
    holdings.release();  // what it had got is free again
    const MemoryUse use = holdings.node().memory_use();
    write(why_text, "{}; {} MiB are free, the largest extent has {} MiB", what, use.free / mib,
          use.largest / mib);
    return fail_with(why_text, s);
}

Status Guest::create_memory(const VmConfig& config) {
    const std::uint64_t bytes = config.memory_mib << 20;
    const Result<CoreInfo> core =
        query_core(init_slot::first_core + static_cast<Slot>(config.core));
    Status s = holdings.allocate_ram(bytes, core ? core->node : any_node, ram);
    if (s != Status::ok)
        return fail_without_memory("there is not that much memory (memory_mib)", s);

    const std::uint64_t mappings = space_mappings + bytes / bytes_per_mapping;
    const Result<Extent> storage =
        holdings.allocate(space_overhead + align_up(mappings * mapping_bytes, page_size) +
                          space_table_bytes + bytes / bytes_per_table * page_size);
    if (!storage) return fail_without_memory("no memory for its address space", storage.status());
    space = holdings.new_slot();
    s = margay::create(ObjectType::space, space, storage->slot, mappings);
    if (s != Status::ok) return fail_with("its address space cannot be created", s);
    const std::uint64_t low = ram.size < guest_low_ram_limit ? ram.size : guest_low_ram_limit;
    constexpr std::uint64_t rights = rw | map_right::execute;
    s = map_ram(ram, space, 0, 0, low, rights);
    if (s == Status::ok && ram.size > low)
        s = map_ram(ram, space, guest_high_ram, low, ram.size - low, rights);
    return s == Status::ok ? s : fail_with("its memory cannot be mapped", s);
}

Status Guest::create_vcpu(const VmConfig& config, Slot event, std::uint64_t death, Slot requests) {
    const Result<Extent> page = holdings.allocate(page_size);
    const Result<Extent> storage = holdings.allocate(storage_vcpu);
    if (!page || !storage) return fail_without_memory("no memory for its vCPU", Status::no_memory);
    state_page = *page;
    vcpu = holdings.new_slot();
    const Slot core = init_slot::first_core + static_cast<Slot>(config.core);
    Status s = margay::create_vcpu(vcpu, storage->slot, space, core, vm_priority, state_page.slot);
    if (s == Status::ok) s = vcpu_ctl(vcpu, VcpuOp::set_death_event, event, death);
    if (s == Status::ok) s = vcpu_ctl(vcpu, VcpuOp::bind_event, requests);
    return s == Status::ok ? s : fail_with("its vCPU cannot be created", s);
}

Status Guest::create_shared(const VmConfig& config) {
    const Result<Extent> memory[] = {holdings.allocate(device_state_bytes),
                                     holdings.allocate(page_size), holdings.allocate(page_size)};
    for (const Result<Extent>& m : memory)
        if (!m) return fail_without_memory("no memory for its state", m.status());
    devices = *memory[0], control_page = *memory[1], texts = *memory[2];
    const Result<std::uint64_t> here[] = {
        holdings.map_here(devices, rw), holdings.map_here(control_page, rw),
        holdings.map_here(texts, rw), holdings.map_here(state_page, rw)};
    for (const Result<std::uint64_t>& h : here)
        if (!h) return fail_with("its state cannot be mapped", h.status());
    region = reinterpret_cast<std::byte*>(*here[0]);
    std::memset(region, 0, device_state_bytes);
    std::memset(reinterpret_cast<void*>(*here[1]), 0, page_size);
    control = new (reinterpret_cast<void*>(*here[1])) VmControl{};
    auto* text = reinterpret_cast<char*>(*here[2]);
    std::memset(text, 0, page_size);
    static_assert(sizeof(config.append) <= vmm_options_offset &&
                  vmm_options_offset + sizeof(config.vmm_options) <= page_size);
    std::memcpy(text, config.append, sizeof(config.append));
    std::memcpy(text + vmm_options_offset, config.vmm_options, sizeof(config.vmm_options));
    state = reinterpret_cast<VcpuState*>(*here[3]);
    std::memset(static_cast<void*>(state), 0, sizeof(*state));
    return Status::ok;
}

Status Guest::create_portal(const VmConfig& config) {
    const Result<Extent> storage = holdings.allocate(storage_small);
    if (!storage) return fail_without_memory("no memory for its portal", storage.status());
    portal = holdings.new_slot();
    const Slot core = init_slot::first_core + static_cast<Slot>(config.core);
    Status s = margay::create_portal(portal, storage->slot, no_slot, core);
    for (unsigned c = 0; s == Status::ok && c < exit_classes; ++c) {
        const auto exit_class = static_cast<ExitClass>(c);
        s = bind_row(vcpu, exit_class, portal, wanted_state(exit_class));
    }
    return s == Status::ok ? s : fail_with("its portal cannot be created", s);
}

Status Guest::create(Node& node, const VmConfig& config, Slot event, std::uint64_t death,
                     Slot requests) {
    holdings.use(node);
    Status s = create_memory(config);
    if (s == Status::ok) s = create_vcpu(config, event, death, requests);
    if (s == Status::ok) s = create_shared(config);
    if (s == Status::ok) s = create_portal(config);
    return s;
}

Status Guest::start(std::uint64_t sequence) {
    const Status s = vcpu_ctl(vcpu, VcpuOp::start, sequence);
    return s == Status::ok ? s : fail_with("its vCPU cannot be started", s);
}

void Guest::release() {
    holdings.release();
    control = nullptr;
    state = nullptr;
    region = nullptr;
}

}  // namespace margay::init

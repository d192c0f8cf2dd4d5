#include "servers/init/guest.hpp"

#include <algorithm>
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
constexpr std::uint64_t mib = 1 << 20;
constexpr const char* no_ram = "there is not that much memory (memory_mib)";
// Some tens of microseconds with pages of 2 MiB.
constexpr std::uint64_t mapped_at_once = 4ull << 30;

}  // namespace

Status Guest::fail_without_memory(const char* what, Status s) {
    if (s != Status::no_memory) return fail_with(what, s);
    Node& node = holdings.node();
    release();  // what it had got is free again
    holdings.use(node);
    const MemoryUse use = holdings.node().memory_use();
    write(why_text, "{}; {} MiB are free, the largest extent has {} MiB", what, use.free / mib,
          use.largest / mib);
    return fail_with(why_text, s);
}

// Before much is cleared in vain.
Status Guest::find_room() {
    return holdings.node().has_free(config->memory_mib << 20)
               ? Status::ok
               : fail_without_memory(no_ram, Status::no_memory);
}

Status Guest::create_ram(bool& done) {
    const Result<CoreInfo> core = query_core(init_slot::first_core + static_cast<Slot>(first.core));
    const Status s = holdings.allocate_ram_piece(config->memory_mib << 20,
                                                 core ? core->node : any_node, ram, done);
    return s == Status::ok ? s : fail_without_memory(no_ram, s);
}

Status Guest::create_space() {
    const std::uint64_t bytes = ram.size;
    const std::uint64_t mappings = space_mappings + bytes / bytes_per_mapping;
    const Result<Extent> storage =
        holdings.allocate(space_overhead + align_up(mappings * mapping_bytes, page_size) +
                          space_table_bytes + bytes / bytes_per_table * page_size);
    if (!storage) return fail_without_memory("no memory for its address space", storage.status());
    space = holdings.new_slot();
    const Status s = margay::create(ObjectType::space, space, storage->slot, mappings);
    return s == Status::ok ? s : fail_with("its address space cannot be created", s);
}

RamPiece next_piece(const Ram& ram, std::uint64_t offset) {
    const bool is_low = offset < guest_low_ram_limit;
    const std::uint64_t end = is_low ? std::min(ram.size, guest_low_ram_limit) : ram.size;
    return {is_low ? offset : guest_high_ram + (offset - guest_low_ram_limit),
            std::min(end - offset, mapped_at_once)};
}

Status Guest::map_piece(bool& done) {
    const RamPiece piece = next_piece(ram, mapped);
    const Status s = map_ram(ram, space, piece.at, mapped, piece.size,
                             map_right::read_write | map_right::execute);
    if (s != Status::ok) return fail_with("its memory cannot be mapped", s);
    mapped += piece.size;
    done = mapped == ram.size;
    return s;
}

Status Guest::create_cpu(GuestCpu& cpu, unsigned number, Holdings& from) {
    const Result<Extent> memory[] = {from.allocate(page_size), from.allocate(storage_vcpu),
                                     from.allocate(device_state_bytes)};
    for (const Result<Extent>& m : memory)
        if (!m) return fail_without_memory("no memory for its vCPUs", m.status());
    cpu.state_page = *memory[0], cpu.devices = *memory[2];
    cpu.vcpu = from.new_slot();
    const Slot core = init_slot::first_core + static_cast<Slot>(cpu.core);
    Status s = margay::create_vcpu(cpu.vcpu, memory[1]->slot, space, core, vm_priority,
                                   cpu.state_page.slot);
    if (s == Status::ok) s = vcpu_ctl(cpu.vcpu, VcpuOp::set_death_event, event, death);
    if (s == Status::ok) s = vcpu_ctl(cpu.vcpu, VcpuOp::bind_event, cpu.event);
    if (s != Status::ok) return fail_with("its vCPUs cannot be created", s);
    const Result<std::uint64_t> here[] = {from.map_here(cpu.state_page, map_right::read_write),
                                          from.map_here(cpu.devices, map_right::read_write)};
    for (const Result<std::uint64_t>& h : here)
        if (!h) return fail_with("its state cannot be mapped", h.status());
    cpu.state = reinterpret_cast<VcpuState*>(*here[0]);
    std::memset(static_cast<void*>(cpu.state), 0, sizeof(*cpu.state));
    cpu.region = reinterpret_cast<std::byte*>(*here[1]);
    std::memset(cpu.region, 0, device_state_bytes);
    return create_portal(cpu, number, from);
}

Status Guest::create_shared() {
    const Result<Extent> memory[] = {holdings.allocate(page_size), holdings.allocate(page_size)};
    for (const Result<Extent>& m : memory)
        if (!m) return fail_without_memory("no memory for its state", m.status());
    control_page = *memory[0], texts = *memory[1];
    const Result<std::uint64_t> here[] = {holdings.map_here(control_page, map_right::read_write),
                                          holdings.map_here(texts, map_right::read_write)};
    for (const Result<std::uint64_t>& h : here)
        if (!h) return fail_with("its state cannot be mapped", h.status());
    std::memset(reinterpret_cast<void*>(*here[0]), 0, page_size);
    control = new (reinterpret_cast<void*>(*here[0])) VmControl{};
    auto* text = reinterpret_cast<char*>(*here[1]);
    std::memset(text, 0, page_size);
    static_assert(sizeof(config->append) <= vmm_options_offset &&
                  vmm_options_offset + sizeof(config->vmm_options) <= page_size);
    std::memcpy(text, config->append, sizeof(config->append));
    std::memcpy(text + vmm_options_offset, config->vmm_options, sizeof(config->vmm_options));
    return Status::ok;
}

// Its badge tells the VMM whose exit it is.
Status Guest::create_portal(GuestCpu& cpu, unsigned number, Holdings& from) {
    const Result<Extent> storage = from.allocate(storage_small);
    if (!storage) return fail_without_memory("no memory for its portals", storage.status());
    cpu.portal = from.new_slot();
    const Slot core = init_slot::first_core + static_cast<Slot>(cpu.core);
    Status s = margay::create_portal(cpu.portal, storage->slot, no_slot, core);
    Slot through = cpu.portal;
    if (s == Status::ok && number != 0) {
        through = from.new_slot();
        s = copy(cpu.portal, init_slot::domain, through, right::all, number);
    }
    for (unsigned c = 0; s == Status::ok && c < exit_classes; ++c) {
        const auto exit_class = static_cast<ExitClass>(c);
        s = bind_row(cpu.vcpu, exit_class, through, wanted_state(exit_class));
    }
    return s == Status::ok ? s : fail_with("its portals cannot be created", s);
}

Status Guest::create_row() {
    const Status s = further.make(holdings, static_cast<unsigned>(config->cpus.count) - 1);
    if (s != Status::ok) return fail_without_memory("no memory for its vCPUs", s);
    for (FurtherCpu& cpu : further) cpu.holdings.use(holdings.node());
    return s;
}

Status Guest::create_further(unsigned number) {
    FurtherCpu& cpu = further[number - 1];
    cpu.core = core_of(*config, number, holdings.node().info().cores);
    const Status s = cpu.holdings.create_event(cpu.event);
    if (s != Status::ok) return fail_without_memory("no memory for its vCPUs", s);
    return create_cpu(cpu, number, cpu.holdings);
}

unsigned Guest::leader(unsigned number) const {
    unsigned i = 0;
    while (cpu(i).core != cpu(number).core) ++i;
    return i;
}

std::uint64_t Guest::sharing() const {
    std::uint64_t mask = 0;
    for (unsigned i = 0; i < cpus(); ++i)
        if (const unsigned l = leader(i); l != i) mask |= 1ull << i | 1ull << l;
    return mask;
}

void Guest::begin(Node& node, const VmConfig& its_config, Slot its_event, std::uint64_t its_death,
                  Slot requests) {
    holdings.use(node);
    config = &its_config;
    event = its_event;
    death = its_death;
    step = Step::room;
    ram = Ram{};
    mapped = 0;
    created = 0;
    first.core = core_of(its_config, 0, node.info().cores);
    first.event = requests;
}

Status Guest::create_piece(bool& done) {
    done = false;
    Status s = Status::ok;
    bool goes_on = true;  // to the next step
    switch (step) {
    case Step::room: s = find_room(); break;
    case Step::ram: s = create_ram(goes_on); break;
    case Step::space: s = create_space(); break;
    case Step::mapping: s = map_piece(goes_on); break;
    case Step::first_cpu: s = create_cpu(first, 0, holdings); break;
    case Step::shared:
        s = create_shared();
        done = config->cpus.count == 1;
        break;
    case Step::row: s = create_row(); break;
    case Step::further:
        s = create_further(++created);
        done = created + 1 == config->cpus.count;
        return s;
    }
    if (s == Status::ok && goes_on) step = static_cast<Step>(static_cast<unsigned>(step) + 1);
    return s;
}

Status Guest::start(std::uint64_t sequence) {
    Status s = Status::ok;
    each_cpu([&](GuestCpu& cpu) {
        if (s == Status::ok) s = vcpu_ctl(cpu.vcpu, VcpuOp::start, sequence);
    });
    return s == Status::ok ? s : fail_with("its vCPUs cannot be started", s);
}

void Guest::abandon() {
    control = nullptr;
    // The next one waits for the same Event.
    (void)vcpu_ctl(first.vcpu, VcpuOp::bind_event, no_slot);
    for (FurtherCpu& cpu : further) cpu.holdings.abandon();
    further.clear();
    holdings.abandon();
    first = GuestCpu{};
}

void Guest::release() {
    while (!release_piece()) {}
}

bool Guest::release_piece() {
    control = nullptr;
    for (FurtherCpu& cpu : further)
        if (!cpu.holdings.release_piece()) return false;
    further.clear();  // it lies in what is held
    if (!holdings.release_piece()) return false;
    first = GuestCpu{};
    return true;
}

}  // namespace margay::init

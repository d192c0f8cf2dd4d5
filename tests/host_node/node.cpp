#include "tests/host_node/node.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include "support/elf.hpp"
#include "tests/host_node/hosted_program.hpp"
#include "tests/host_node/programs/vmm_seam.hpp"
#include "ukernel/boot/init_domain.hpp"
#include "ukernel/boot/multiboot2.hpp"
#include "ukernel/boot/range_list.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/domain.hpp"

std::uint64_t host_node_blocks_left = 0;
void (*host_node_on_block)() = nullptr;

namespace margay::host_node {

namespace {

constexpr std::uint64_t kernel_bytes = 8 << 20;  // what the boot allocator may take
constexpr std::uint16_t com1 = 0x3f8, com2 = 0x2f8, com3 = 0x3e8, exit_port = 0xf4;
constexpr unsigned com1_gsi = 4, com2_gsi = 3;

Node* the_node = nullptr;

HostedProgram& hosted(const std::string& name) {
    static std::map<std::string, HostedProgram> programs;
    return programs.try_emplace(name, MARGAY_HOSTED_PROGRAMS "/" + name + ".so").first->second;
}

// An executable that is nothing but an entry point.
std::vector<std::byte> stub(std::uint64_t entry) {
    std::vector<std::byte> file(page_size);
    auto& h = *reinterpret_cast<ElfHeader*>(file.data());
    constexpr std::uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    std::memcpy(h.ident, ident, sizeof(ident));
    h.type = 2, h.machine = 62, h.version = 1, h.entry = entry;
    h.program_headers = sizeof(ElfHeader);
    h.header_size = sizeof(ElfHeader), h.program_header_size = sizeof(ElfSegment);
    h.program_header_count = 1;
    auto& s = *reinterpret_cast<ElfSegment*>(file.data() + sizeof(ElfHeader));
    s.type = 1, s.flags = 5, s.address = s.physical = align_down(entry, page_size);
    s.file_size = s.memory_size = page_size, s.alignment = page_size;
    return file;
}

std::vector<std::byte> bytes_of(std::string_view text) {
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    return {p, p + text.size()};
}

// RAM is full of rubbish before anything of the node has its place there.
std::uint64_t fresh_machine(const NodeOptions& options) {
    machine::reset(options.ram);
    machine::now.tsc_khz = options.tsc_khz;
    return options.ram;
}

// Registers of the clock: binary, 24 hours.
void set_date(std::time_t time, std::uint8_t (&date)[12]) {
    std::tm t{};
    gmtime_r(&time, &t);
    const int registers[] = {
        t.tm_sec,        0, t.tm_min, 0, t.tm_hour, 0, t.tm_wday + 1, t.tm_mday, t.tm_mon + 1,
        t.tm_year % 100, 0, 6};
    for (unsigned i = 0; i < 12; ++i) date[i] = static_cast<std::uint8_t>(registers[i]);
}

class BootModules {
  public:
    explicit BootModules(BootData& boot) : boot_{boot} {}
    void add(const std::string& name, const std::vector<std::byte>& bytes) {
        const HostPhys at = machine::take_ram(bytes.size());
        std::memcpy(direct<void>(at), bytes.data(), bytes.size());
        BootModule& m = boot_.modules[boot_.module_count++];
        m.begin = at, m.end = at + bytes.size();
        std::strncpy(m.name, name.c_str(), sizeof(m.name) - 1);
    }

  private:
    BootData& boot_;
};

}  // namespace

std::uint64_t& blocks_left() { return host_node_blocks_left; }

Node::Node(const NodeOptions& options) : ram_{fresh_machine(options)}, guests_{options.guests} {
    the_node = this;
    set_date(options.clock, date_);
    host_node_blocks_left = 0;
    host_node_on_block = nullptr;
    machine::now.on_port_read = [this](std::uint16_t port, unsigned width) {
        return port_read(port, width);
    };
    machine::now.on_port_write = [this](std::uint16_t port, unsigned width, std::uint32_t value) {
        port_write(port, width, value);
    };
    terminal.interrupt = [this] { cores.raise(com1_gsi); };
    control.interrupt = [this] { cores.raise(com2_gsi); };
    boot(options);
}

Node::~Node() {
    machine::now.on_port_read = nullptr;
    machine::now.on_port_write = nullptr;
    host_node_on_block = nullptr;
    the_node = nullptr;
}

void Node::boot(const NodeOptions& options) {
    BootData boot{};
    BootModules modules{boot};
    const auto program = [&](const std::string& name, const std::string& file) {
        HostedProgram& hosted_program = hosted(file);
        modules.add(name, stub(cores.add_program([&hosted_program](std::uint64_t argument) {
                        hosted_program.run(argument);
                    })));
    };
    program("init", "host_init");
    program("pmem", "host_pmem");
    program("console", "host_console");
    for (const auto& [name, build] : options.vmms) program(name, "host_" + build);
    modules.add("manifest", bytes_of(options.manifest));
    for (const auto& [name, script] : options.guests) modules.add(name, script->image());
    // What firmware would say: base, length, type 1.
    const std::uint64_t firmware[] = {machine::ram_begin, options.ram, 1};
    boot.memory = {reinterpret_cast<const std::uint8_t*>(firmware), sizeof(firmware), 1};
    MemoryMap memory;
    memory.build(boot.memory, HostPhys{1ull << features().physical_bits});
    std::snprintf(boot.command_line, sizeof(boot.command_line), "log=0x3e8");

    RangeList free_ram;
    free_ram.add({HostPhys{machine::ram_begin}, HostPhys{machine::ram_begin + options.ram}});
    for (unsigned i = 0; i < boot.module_count; ++i)
        free_ram.remove(
            {boot.modules[i].begin, HostPhys{align_up(boot.modules[i].end.value(), page_size)}});
    static const acpi::Platform platform{};  // no tables: one NUMA node
    const HostPhys boot_begin = machine::take_ram(kernel_bytes);
    boot_allocator::init(boot_begin, boot_begin + kernel_bytes);
    machine::switch_to(0);
    create_init(boot, platform, memory, free_ram, boot_begin);

    cores.guest = [this](Vcpu& v) { script_of(v).run(v); };
    cores.guest_entry = [](Vcpu& v) { GuestScript::enter(v); };
}

// The guest's own code says which one it is.
const GuestScript& Node::script_of(const Vcpu& v) {
    const GuestScript* const found = GuestScript::loaded_in(v);
    for (const auto& [name, script] : guests_)
        if (script == found) return *script;
    throw machine::Panic{"a guest that is none of the scripts"};
}

std::uint32_t Node::port_read(std::uint16_t port, unsigned) {
    if (port >= com1 && port < com1 + 8) return terminal.read(port - com1);
    if (port >= com2 && port < com2 + 8) return control.read(port - com2);
    if (port >= com3 && port < com3 + 8) return logs.read(port - com3);
    if (port != 0x71) return ~0u;
    return clock_index_ < sizeof(date_) ? date_[clock_index_] : 0;
}

void Node::port_write(std::uint16_t port, unsigned, std::uint32_t value) {
    const auto byte = static_cast<std::uint8_t>(value);
    if (port >= com1 && port < com1 + 8) terminal.write(port - com1, byte);
    if (port >= com2 && port < com2 + 8) control.write(port - com2, byte);
    if (port >= com3 && port < com3 + 8) logs.write(port - com3, byte);
    if (port == 0x70) clock_index_ = byte;
    if (port == exit_port) exit_code_ = byte;
}

void Node::on_block(std::function<void()> disturb) {
    on_block_ = std::move(disturb);
    host_node_on_block = nullptr;
    if (on_block_) host_node_on_block = [] { the_node->on_block_(); };
}

bool Node::run_until(const std::function<bool()>& done, std::uint64_t rounds) {
    return cores.run([&] { return is_off() || done(); }, rounds) && done();
}

bool Node::run(std::uint64_t rounds) {
    return cores.run([this] { return is_off(); }, rounds);
}

std::string Node::command(std::string_view json) {
    answers_ = control.sent.size();
    control.type(std::string{json} + "\n");
    if (!run_until([this] { return control.sent.find('\n', answers_) != std::string::npos; }))
        return {};
    return control.sent.substr(answers_, control.sent.find('\n', answers_) - answers_);
}

namespace {

// CRC-32 (IEEE 802.3).
std::uint32_t crc_of(std::string_view bytes) {
    std::uint32_t crc = ~0u;
    for (const char c : bytes) {
        crc ^= static_cast<std::uint8_t>(c);
        for (unsigned bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb8'8320 : 0);
    }
    return ~crc;
}

std::string number(std::uint64_t value, unsigned bytes) {
    std::string text;
    for (unsigned i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
}

}  // namespace

bool Node::put_module(const std::string& name, std::size_t bytes) {
    constexpr std::size_t piece = 1000;  // a frame has at most 1024
    char request[160];
    std::snprintf(request, sizeof(request),
                  R"({"command": "module-put", "module": "%s", "bytes": "%zu", "crc": "%08x"})",
                  name.c_str(), bytes, crc_of(std::string(bytes, 0)));
    const std::string answer = command(request), key = "\"transfer\":";
    const std::size_t at = answer.find(key);
    if (at == std::string::npos) return false;
    const std::uint64_t transfer = std::strtoull(answer.c_str() + at + key.size(), nullptr, 10);
    answers_ = control.sent.size();
    // docs/manual/control-protocol.md, Frames.
    for (std::size_t from = 0; from < bytes; from += piece) {
        const std::string payload =
            number(transfer, 4) + number(from, 8) + std::string(std::min(piece, bytes - from), 0);
        const std::string frame = "b" + number(1, 2) + number(payload.size(), 2) + payload;
        control.type("\x01" + frame + number(crc_of(frame), 4));
    }
    // `C` without a text.
    const std::string end = "C" + number(1, 2) + number(0, 2);
    return run_until([&] { return control.sent.find(end, answers_) != std::string::npos; });
}

}  // namespace margay::host_node

void host_node_placed() {
    using namespace margay;
    using namespace margay::host_node;
    if (the_node == nullptr) return;
    const std::uint64_t end = machine::now.tsc + the_node->placing;
    while (machine::now.tsc < end) Cores::spin();
}

unsigned host_node_vmm_moment(std::uint64_t sequence, bool replayed, bool after) {
    using namespace margay::host_node;
    const Node* node = the_node;
    if (node == nullptr || !node->fate) return 0;
    return static_cast<unsigned>(
        node->fate({Cores::this_thread().domain->name, sequence, replayed, after}));
}

void host_node_vmm_answer(const std::uint64_t (&values)[13]) {
    using namespace margay::host_node;
    const Node* node = the_node;
    if (node == nullptr || !node->answered) return;
    VmmAnswer answer;
    static_assert(sizeof(answer) == sizeof(values));
    std::memcpy(&answer, values, sizeof(answer));
    node->answered(answer);
}

void host_node_spin() { margay::host_node::Cores::spin(); }

#include "servers/init/control/reply.hpp"

#include "proto/exit.hpp"
#include "proto/sealed_line.hpp"
#include "servers/init/control/device_text.hpp"
#include "servers/init/control/json_arena.hpp"
#include "servers/init/integer_json.hpp"

namespace margay::init {

namespace {

// What RapidJSON writes to. It knows whether everything fitted: half a reply is never sent.
class Stream {
  public:
    // The names are RapidJSON's. NOLINTBEGIN(readability-identifier-naming)
    using Ch = char;
    void Put(char c) { text_(c); }
    static void Flush() {}
    // NOLINTEND(readability-identifier-naming)
    bool is_whole() const { return !text_.is_full(); }
    std::string_view view() const { return text_.view(); }

    void clear() { text_.clear(); }

  private:
    // Around it: line ends before a repetition, a CRC, the line's end.
    Text<Output::capacity - frame::max_frame - seal_bytes - 1> text_;
};

// One for all replies: it is too large for a stack.
Stream& fresh_stream() {
    static Stream stream;
    stream.clear();
    return stream;
}

// How many bytes of valid UTF-8 are at the front; 0 if it is none.
unsigned valid_utf8(std::string_view s) {
    const auto byte = [&](std::size_t i) {
        return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u;
    };
    const auto is_next = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
        return byte(i) >= low && byte(i) <= high;
    };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return is_next(1) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
        const unsigned low = first == 0xe0 ? 0xa0 : 0x80, high = first == 0xed ? 0x9f : 0xbf;
        return is_next(1, low, high) && is_next(2) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const unsigned low = first == 0xf0 ? 0x90 : 0x80, high = first == 0xf4 ? 0x8f : 0xbf;
        return is_next(1, low, high) && is_next(2) && is_next(3) ? 4 : 0;
    }
    return 0;
}

class Writer {
  public:
    explicit Writer(Stream& stream) : json_{stream, &arena_, 8} {}

    void begin_object() { (void)json_.StartObject(); }
    void end_object() { (void)json_.EndObject(); }
    void begin_array() { (void)json_.StartArray(); }
    void end_array() { (void)json_.EndArray(); }
    void key(std::string_view name) {
        (void)json_.Key(name.data(), static_cast<rapidjson::SizeType>(name.size()));
    }
    // Names come from manifests and boot loaders: bytes that are no UTF-8 become question marks.
    void text(std::string_view value) {
        Text<256> clean;
        while (!value.empty()) {
            const unsigned length = valid_utf8(value);
            if (length == 0) clean('?');
            for (unsigned i = 0; i < length; ++i) clean(value[i]);
            value.remove_prefix(length == 0 ? 1 : length);
        }
        const std::string_view s = clean.view();
        (void)json_.String(s.data(), static_cast<rapidjson::SizeType>(s.size()));
    }
    void number(std::uint64_t value) { (void)json_.Uint64(value); }
    void truth(bool value) { (void)json_.Bool(value); }
    void field(std::string_view name, std::string_view value) {
        key(name);
        text(value);
    }
    void field(std::string_view name, std::uint64_t value) {
        key(name);
        number(value);
    }

    void begin_reply(const Request& request, bool good) {
        begin_object();
        key("id");
        const std::string_view id = request.id.view();
        switch (request.id_kind) {
        case IdKind::none: (void)json_.Null(); break;
        case IdKind::text:
            (void)json_.String(id.data(), static_cast<rapidjson::SizeType>(id.size()));
            break;
        case IdKind::number:
            (void)json_.RawValue(id.data(), id.size(), rapidjson::kNumberType);
            break;
        }
        key("ok");
        truth(good);
    }

  private:
    using Arena = JsonArena<1024>;  // replies are nested six deep

    Arena arena_;
    rapidjson::Writer<Stream, rapidjson::UTF8<>, rapidjson::UTF8<>, Arena> json_;
};

void write_short(Writer& w, const VmInfo& vm, unsigned index) {
    w.field("id", id_of(index));
    w.field("name", vm.name);
    w.field("state", to_text(vm.phase));
    w.field("core", vm.core);
    w.field("memory_mib", vm.memory_mib);
    w.field("exits", vm.exits);
    w.field("vmm", vm.vmm);
    w.field("restarts", vm.restarts);
}

void write_vm(Writer& w, const VmInfo& vm, unsigned index) {
    w.begin_object();
    write_short(w, vm, index);
    w.field("rolled_back", vm.rolled_back);
    w.field("blackout_ns", vm.blackout_ns);
    w.key("saved");
    w.truth(vm.saved);
    w.field("saved_bytes", vm.saved_bytes);
    w.field("file_bytes", vm.file_bytes);
    w.field("placed_bytes", vm.placed_bytes);
    w.field("reason", vm.reason);
    w.end_object();
}

void write_list(Writer& w, Operations& operations) {
    w.begin_array();
    for (unsigned i = 0; i < operations.vm_count(); ++i) {
        if (operations.vm_info(i).name[0] == 0) continue;
        w.begin_object();
        write_short(w, operations.vm_info(i), i);
        w.end_object();
    }
    w.end_array();
}

void write_modules(Writer& w, Operations& operations) {
    w.begin_array();
    for (unsigned i = 0; i < operations.module_count(); ++i) {
        const ModuleInfo m = operations.module(i);
        if (m.name[0] == 0) continue;
        w.begin_object();
        w.field("name", m.name);
        w.field("bytes", m.bytes);
        w.field("from", m.was_put ? "control line" : "boot");
        w.field("received", m.received);
        w.field("used_by", m.used_by);
        w.end_object();
    }
    w.end_array();
}

// Those that are not zero.
void write_figures(Writer& w, const PolicyPage* page) {
    w.begin_object();
    for (unsigned i = 0; page != nullptr && i < policy_figures; ++i) {
        const auto name = page->figure[i].name.copy();
        const std::uint64_t value = page->figure[i].value.load();
        if (!name.view().empty() && value != 0) w.field(name.view(), value);
    }
    w.end_object();
}

void write_policies(Writer& w, Operations& operations) {
    w.begin_array();
    for (unsigned i = 0; i < operations.policy_count(); ++i) {
        const PolicyInfo p = operations.policy(i);
        if (p.vm[0] == 0) continue;
        w.begin_object();
        w.field("vm", p.vm);
        w.field("policy", p.module);
        w.field("state", p.state);
        w.key("classes");
        w.begin_array();
        for (unsigned c = 0; c < exit_classes; ++c)
            if ((p.classes >> c & 1) != 0) w.text(to_text(static_cast<ExitClass>(c)));
        w.end_array();
        w.field("options", p.options);
        w.field("report", p.report);
        w.key("figures");
        write_figures(w, p.page);
        w.end_object();
    }
    w.end_array();
}

void write_devices(Writer& w, Operations& operations) {
    w.begin_array();
    for (unsigned i = 0; i < operations.device_count(); ++i) {
        const DeviceInfo d = operations.device(i);
        Text<16> address, vendor, device, code;
        write_address(address, d.requester);
        write_hex(vendor, d.vendor, 4);
        write_hex(device, d.device, 4);
        write_hex(code, d.class_code, 6);
        w.begin_object();
        w.field("address", address.view());
        w.field("vendor", vendor.view());
        w.field("device", device.view());
        w.field("class", code.view());
        w.field("kind", kind_of(d.class_code));
        w.field("holder", d.holder);
        w.field("group", d.group);
        w.field("reset", to_text(d.reset));
        w.field("iommu", d.iommu[0] != 0 ? d.iommu : "none");
        w.field("confines", d.iommu[0] == 0   ? "nothing"
                            : d.may_raise_any ? "DMA"
                                              : "DMA and interrupts");
        const auto why = why_not(d);
        w.key("usable");
        w.truth(why.empty());
        w.field("reason", why.view());
        w.end_object();
    }
    w.end_array();
}

void write_node(Writer& w, const NodeInfo& node) {
    w.begin_object();
    w.field("cores", node.cores);
    w.field("memory_free", node.memory_free);
    w.field("memory_used", node.memory_used);
    w.field("memory_extents", node.memory_extents);
    w.field("slots", node.slots);
    w.field("windows", node.windows);
    w.field("console_deaths", node.console_deaths);
    w.field("pmem_deaths", node.pmem_deaths);
    w.field("pci_deaths", node.pci_deaths);
    w.key("device_messages");
    w.begin_array();
    for (unsigned core = 0; core < node.cores && node.device_messages != nullptr; ++core)
        w.number(node.device_messages(core));
    w.end_array();
    w.end_object();
}

bool is_transfer(Action a) {
    return a == Action::module_put || a == Action::saved_get || a == Action::saved_put;
}

// Classes of which there were none are left out.
void write_exits(Writer& w, Operations& operations, unsigned vm) {
    w.begin_object();
    w.field("vm", operations.vm_info(vm).name);
    w.key("vcpus");
    w.begin_array();
    for (unsigned i = 0; i < operations.counted_cpus(vm); ++i) {
        const CpuExits cpu = operations.cpu_exits(vm, i);
        w.begin_object();
        w.field("core", cpu.core);
        w.key("exits");
        w.begin_object();
        for (unsigned c = 0; c < exit_classes; ++c) {
            if (cpu.of[c].exits == 0) continue;
            w.key(to_text(static_cast<ExitClass>(c)));
            w.begin_array();
            w.number(cpu.of[c].exits);
            w.number(cpu.of[c].ns);
            w.end_array();
        }
        w.end_object();
        w.key("kernel");
        w.begin_object();
        for (unsigned k = 0; k < kernel_exits; ++k)
            if (cpu.by_kernel[k] != 0)
                w.field(to_text(static_cast<KernelExit>(k)), cpu.by_kernel[k]);
        w.end_object();
        w.end_object();
    }
    w.end_array();
    w.end_object();
}

void write_help(Writer& w, std::string_view topic) {
    w.begin_array();
    for (const CommandSpec& spec : commands()) {
        if (!topic.empty() && topic != spec.name) continue;
        w.begin_object();
        w.field("command", spec.name);
        w.key("arguments");
        w.begin_array();
        for (const Parameter p : spec.parameters) w.text(spec_of(p).name);
        w.end_array();
        w.field("help", spec.help);
        w.end_object();
    }
    w.end_array();
}

void send(Output& output, const Stream& stream, bool is_sealed) {
    for (char c : stream.view()) output(c);
    if (is_sealed) write_seal(output, stream.view());
    output('\n');
}

}  // namespace

void write_error(Output& output, const Request& request, FailureKind kind, std::string_view error) {
    Stream& stream = fresh_stream();
    Writer w{stream};
    w.begin_reply(request, false);
    w.field("error", error);
    w.field("kind", to_text(kind));
    w.end_object();
    send(output, stream, request.is_sealed);
}

void write_result(Output& output, const Request& request, Operations& operations,
                  const Performed& performed) {
    Stream& stream = fresh_stream();
    Writer w{stream};
    w.begin_reply(request, true);
    w.key("result");
    switch (request.command.action) {
    case Action::list: write_list(w, operations); break;
    case Action::modules: write_modules(w, operations); break;
    case Action::devices: write_devices(w, operations); break;
    case Action::policies: write_policies(w, operations); break;
    case Action::nodeinfo: write_node(w, operations.node_info()); break;
    case Action::exits: write_exits(w, operations, performed.vm); break;
    case Action::help: write_help(w, request.command[Parameter::topic]); break;
    case Action::dominfo: write_vm(w, operations.vm_info(performed.vm), performed.vm); break;
    default:
        w.begin_object();
        w.field("message", performed.message.view());
        if (is_transfer(request.command.action)) {
            w.field("transfer", performed.arrival.transfer);
            w.field("offset", performed.arrival.next);
            w.key("complete");
            w.truth(performed.arrival.is_whole);
        }
        if (request.command.action != Action::define && performed.vm < operations.vm_count() &&
            operations.vm_info(performed.vm).name[0] != 0) {
            w.key("vm");
            write_vm(w, operations.vm_info(performed.vm), performed.vm);
        }
        w.end_object();
    }
    w.end_object();
    if (!stream.is_whole())
        return write_error(output, request, FailureKind::no_memory, "the answer is too long");
    send(output, stream, request.is_sealed);
}

}  // namespace margay::init

#include "servers/init/services.hpp"

#include <cstring>
#include <new>

#include "libipc/log.hpp"
#include "support/address.hpp"
#include "support/format.hpp"
#include "support/options.hpp"

namespace margay::init {

namespace {

constexpr unsigned pmem_priority = 48;
constexpr unsigned console_priority = 40;
constexpr unsigned pmem_extents = 60;
constexpr std::uint64_t bootstrap_bytes = 4 << 20;
constexpr std::uint64_t channel_area = 0x3000'0000;
constexpr std::uint64_t console_control_address = 0x2f00'0000;
constexpr std::uint16_t com1 = 0x3f8, com2 = 0x2f8;
constexpr std::uint64_t uart_ports = 8;
constexpr unsigned com1_gsi = 4, com2_gsi = 3;

// Before there is a console: straight to the serial line, which init has by its authority over ports.
[[noreturn]] void early_failure(const char* what, Status s) {
    print(
        [](char c) {
            for (unsigned i = 0; i < 100000 && !(port_read(init_slot::ports, com1 + 5, 1) & 0x20);
                 ++i) {}
            (void)port_write(init_slot::ports, com1, 1, static_cast<unsigned char>(c));
        },
        "margay: {}: {}\r\n", what, to_text(s));
    __builtin_trap();
}

void must(Status s, const char* what) {
    if (s != Status::ok) early_failure(what, s);
}
template <typename T>
T must(const Result<T>& r, const char* what) {
    must(r.status(), what);
    return r.value();
}

// A UART's ports and its interrupt. Whether there is one is for the console to find out.
void give_uart(Node& node, Program& console, const char* ports_item, std::uint16_t base,
               const char* irq_item, unsigned gsi) {
    const Slot ports = node.new_slot();
    must(carve(ports, init_slot::ports, base, uart_ports), ports_item);
    must(console.give_capability(ports_item, ports, right::all, 0, base), ports_item);
    const Extent storage = must(node.allocate(storage_small), irq_item);
    const Slot irq = node.new_slot();
    must(create(ObjectType::irq, irq, storage.slot, init_slot::irq_control, gsi), irq_item);
    must(console.give_capability(irq_item, irq), irq_item);
}

// pmem is given the largest of them when there are very many; a start-up block has no room for more.
bool is_among_the_small(const BootInfo& info, const BootExtent& one) {
    unsigned larger = 0;
    for (unsigned i = 0; i < info.extents; ++i) {
        const BootExtent& e = info.extent[i];
        if (e.use == ExtentUse::free_ram &&
            (e.size > one.size || (e.size == one.size && e.base < one.base)))
            ++larger;
    }
    return larger >= pmem_extents;
}

}  // namespace

void Services::start_memory(Node& node) {
    const BootInfo& info = node.info();
    tsc_khz_ = info.tsc_khz;
    const BootExtent* largest = nullptr;
    for (unsigned i = 0; i < info.extents; ++i) {
        const BootExtent& e = info.extent[i];
        if (e.use == ExtentUse::free_ram && (largest == nullptr || e.size > largest->size))
            largest = &e;
    }
    if (largest == nullptr || largest->size < 2 * bootstrap_bytes)
        early_failure("no free RAM", Status::no_memory);
    const Slot bootstrap = node.new_slot(), rest = node.new_slot();
    must(carve(bootstrap, largest->slot, largest->base, bootstrap_bytes), "bootstrap memory");
    must(carve(rest, largest->slot, largest->base + bootstrap_bytes,
               largest->size - bootstrap_bytes),
         "bootstrap memory");
    node.use_bootstrap({bootstrap, largest->base, bootstrap_bytes});

    ProgramOptions options;
    options.module = options.name = "pmem";
    options.priority = pmem_priority;
    options.slots = 2048;
    Program pmem{node, options};
    if (const Status s = pmem.load(); s != Status::ok) {
        early_failure(pmem.why(), s);
    }
    for (unsigned i = 0; i < info.extents; ++i) {
        const BootExtent& e = info.extent[i];
        if (e.use != ExtentUse::free_ram) continue;
        if (is_among_the_small(info, e)) {
            unused_ram_ += e.size;
            continue;
        }
        must(pmem.give_capability("ram", &e == largest ? rest : e.slot, right::all, 0, e.node),
             "RAM for pmem");
    }
    node_event_ = must(node.create_event(), "an event");
    must(pmem.make_thread(node_event_, 1ull << 34), "pmem's thread");
    const Extent storage = must(node.allocate(storage_small), "pmem's portal");
    const Slot portal = node.new_slot();
    must(create_portal(portal, storage.slot, pmem.thread(), init_slot::first_core),
         "pmem's portal");
    pmem_ = node.new_slot();
    must(copy(portal, init_slot::domain, pmem_, right::call, pmem_supervisor), "pmem's portal");
    must(pmem.start(), "pmem's start");
    node.use_pmem(pmem_);
}

Channel Services::make_channel(Node& node) {
    Channel c;
    c.memory = must(node.allocate(channel_bytes), "a console channel");
    c.here = new (reinterpret_cast<void*>(
        must(node.map_here(c.memory, map_right::read | map_right::write), "a console channel")))
        ConsoleChannel;
    c.bit = console_bit::channel(channel_count_);
    channels_[channel_count_++] = c.here;
    return c;
}

void Services::attach(const Channel& terminal) {
    unsigned index = 0;
    while (console_bit::channel(index) != terminal.bit) ++index;
    console_control_->attach.store(attach_request(index));
    (void)signal(console_event_, console_bit::control);
}

void Services::start_console(Node& node, const Manifest& manifest, std::uint64_t death_bit) {
    console_event_ = must(node.create_event(), "an event");
    ProgramOptions options;
    options.module = options.name = "console";
    options.priority = console_priority;
    Program console{node, options};
    if (const Status s = console.load(); s != Status::ok) early_failure(console.why(), s);

    std::uint64_t address = channel_area;
    const auto give = [&](const Channel& c, const char* prefix, const char* name, Slot event,
                          std::uint64_t bits = 1) {
        char item[sizeof(StartupItem::name)] = {};
        std::size_t n = 0;
        for (const char* p = prefix; *p != 0 && n + 1 < sizeof(item); ++p) item[n++] = *p;
        for (const char* p = name; *p != 0 && n + 1 < sizeof(item); ++p) item[n++] = *p;
        must(console.give_channel(item, c.memory, address, event, event == no_slot ? 0 : bits),
             "a channel");
        address += align_up(channel_bytes, page_size);
    };
    init_log_ = make_channel(node);
    give(init_log_, "log:", "init", no_slot);
    open_log(init_log_.here, console_event_, init_log_.bit);
    for (unsigned i = 0; i < manifest.vm_count; ++i) {
        guest_events_[i] = must(node.create_event(), "an event");
        terminals_[i] = make_channel(node);
        give(terminals_[i], manifest.vms[i].attached ? "vm:" : "vd:", manifest.vms[i].name,
             guest_events_[i]);
        vmm_logs_[i] = make_channel(node);
        give(vmm_logs_[i], "log:", manifest.vms[i].name, no_slot);
    }

    // Behind the VMs: it is attached from the start only if no VM is.
    node_terminal_ = make_channel(node);
    give(node_terminal_, "node:", "", node_event_, node_bit::terminal);
    control_line_ = make_channel(node);
    give(control_line_, "ctl:", "", node_event_, node_bit::control_line);

    constexpr std::uint64_t rw = map_right::read | map_right::write;
    const Extent page = must(node.allocate(page_size), "the console's control page");
    console_control_ =
        new (reinterpret_cast<void*>(must(node.map_here(page, rw), "the console's control page")))
            ConsoleControl;
    must(console.give_mapping("control", page, console_control_address, rw),
         "the console's control page");
    give_uart(node, console, "serial", com1, "irq", com1_gsi);
    give_uart(node, console, "serial2", com2, "irq2", com2_gsi);
    if (const auto port = find_number(node.info().command_line, "log")) {
        const auto base = static_cast<std::uint16_t>(*port);
        const Slot ports = node.new_slot();
        must(carve(ports, init_slot::ports, base, uart_ports), "the ports of option log");
        must(console.give_capability("log_serial", ports, right::all, 0, base),
             "the ports of option log");
    }
    must(console.give_capability("event", console_event_), "the console's event");
    must(console.make_thread(node_event_, death_bit), "the console's thread");
    must(console.start(), "the console's start");
}

void Services::drain() {
    const std::uint64_t end = rdtsc() + tsc_khz_ * 1000;
    for (;;) {
        bool empty = true;
        for (unsigned i = 0; i < channel_count_; ++i) empty &= channels_[i]->output.is_empty();
        const std::uint64_t now = rdtsc();
        if (empty || now >= end) break;
        (void)wait(node_event_, now + tsc_khz_);
    }
    // The last bytes are on their way from the console's hands to the UART.
    const std::uint64_t sent = rdtsc() + tsc_khz_ * 2;
    while (rdtsc() < sent) (void)wait(node_event_, sent);
}

}  // namespace margay::init

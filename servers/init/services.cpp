#include "servers/init/services.hpp"

#include "libipc/log.hpp"
#include "support/address.hpp"
#include "support/format.hpp"

namespace margay::init {

namespace {

constexpr unsigned pmem_priority = 48;
// Not below the VMs': it calls pmem, which serves it at its priority, and whoever calls pmem meanwhile waits for that.
constexpr unsigned clearing_priority = 32;
constexpr unsigned pmem_extents = 60;
constexpr std::uint64_t bootstrap_bytes = 4 << 20;
constexpr std::uint16_t com1 = 0x3f8;
// Deaths of a service within ten seconds that are answered at once; then it pauses for as long.
constexpr std::uint64_t restart_limit = 16, restart_window_ms = 10'000;

// While there is no console: straight to the serial line, which init has by its authority over ports.
template <typename... Arguments>
void say_directly(std::string_view format, const Arguments&... arguments) {
    print(
        [](char c) {
            for (unsigned i = 0; i < 100000 && !(port_read(init_slot::ports, com1 + 5, 1) & 0x20);
                 ++i) {}
            (void)port_write(init_slot::ports, com1, 1, static_cast<unsigned char>(c));
        },
        format, arguments...);
}

[[noreturn]] void early_failure(const char* what, Status s) {
    say_directly("margay: {}: {}\r\n", what, to_text(s));
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
    options.slots = 4608;  // one for each extent that is in use, and its own
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
    const Slot dirty = must(node.create_event(), "an event");
    const Slot done = must(node.create_event(), "an event");
    must(pmem.give_capability("domain", pmem.domain(), right::map), "pmem's domain");
    must(pmem.give_capability("dirty", dirty, right::signal), "pmem's events");
    must(pmem.give_capability("done", done, right::wait), "pmem's events");
    must(pmem.make_thread(node_event_, node_bit::pmem_died), "pmem's thread");
    const Extent storage = must(node.allocate(storage_small), "pmem's portal");
    const Slot portal = node.new_slot();
    must(create_portal(portal, storage.slot, pmem.thread(), init_slot::first_core),
         "pmem's portal");
    pmem_ = node.new_slot();
    must(copy(portal, init_slot::domain, pmem_, right::call, pmem_supervisor), "pmem's portal");
    must(pmem.start(), "pmem's start");
    node.use_pmem(pmem_);
    start_clearing(node, portal, dirty, done);
}

// The one that clears what comes back: pmem's program in another role. Without it, it is done on allocation.
void Services::start_clearing(Node& node, Slot portal, Slot dirty, Slot done) {
    ProgramOptions options;
    options.module = "pmem";
    options.name = "pmem_clear";
    options.priority = clearing_priority;
    Program clearer{node, options};
    if (const Status s = clearer.load(); s != Status::ok) early_failure(clearer.why(), s);
    must(clearer.give_capability("pmem", portal, right::call, pmem_clearer), "pmem_clear");
    must(clearer.give_capability("domain", clearer.domain(), right::map), "pmem_clear");
    must(clearer.give_capability("dirty", dirty, right::wait), "pmem_clear");
    must(clearer.give_capability("done", done, right::signal), "pmem_clear");
    must(clearer.make_thread(no_slot, 0), "pmem_clear");
    must(clearer.start(), "pmem_clear");
}

Channel Services::make_channel(const ChannelOptions& options) {
    return must(channels_.add(options), "a console channel");
}

void Services::start_console(Node& node) {
    console_event_ = must(node.create_event(), "an event");
    must(channels_.open(node, console_event_, node_event_, node_bit::channels),
         "the console's channels");
    init_log_ = make_channel({ChannelKind::log, "init", channel_flag::trusted});
    open_log(init_log_.here, console_event_, init_log_.bit);
    // Before it starts: what comes in without a channel is lost.
    control_line_ = make_channel({ChannelKind::control, "ctl", channel_flag::tells_room,
                                  node_event_, node_bit::control_line});
    must(console_.prepare(node, channels_, console_event_, node_event_, node_bit::console_died),
         "the console's devices");
    const std::uint64_t window = node.ticks(restart_window_ms * 1000);
    console_life_.configure({restart_limit, window, window});
    while (console_life_.state() != ServiceLife::State::running)
        if (!load_console()) early_failure(console_.why(), Status::no_memory);
}

bool Services::load_console() {
    bool done = false;
    if (console_.load_piece(console_life_.begins_anew(), done) != Status::ok) return false;
    if (done) {
        console_life_.started();
        turns_ = channels_.turns();
    }
    return true;
}

// What init has to say is in its ring until there is a console again; a person at the terminal is told at once if that
// takes long.
void Services::console_failed(const char* why, bool killed) {
    console_.release();
    console_life_.died(channels_.turns() != turns_, killed, rdtsc());
    const bool pauses = console_life_.state() == ServiceLife::State::pausing;
    log("margay: the console {}; it is started again{}\n", why,
        pauses ? " after a pause of 10 s" : "");
    if (pauses)
        say_directly(
            "\r\nmargay: the console died too often; the node goes on without it for 10 s\r\n");
}

void Services::kill_for_test(std::uint64_t microseconds) {
    killer_.configure(tsc_khz_ * microseconds / 1000, 1);
    killer_.schedule(rdtsc());
}

bool Services::look(std::uint64_t bits) {
    if ((bits & node_bit::pmem_died) != 0) {
        log("margay: pmem died\n");
        return false;
    }
    const std::uint64_t now = rdtsc();
    const bool runs = console_life_.state() == ServiceLife::State::running;
    if ((bits & node_bit::console_died) != 0 && runs && console_.is_dead()) {
        console_failed("died", killed_);
        killed_ = false;
    }
    (void)console_life_.begin(now);
    if (now >= killer_.next()) {
        killer_.schedule(now);
        if (console_life_.state() == ServiceLife::State::running)
            killed_ = console_.kill() == Status::ok;
    }
    return true;
}

std::uint64_t Services::next_look() const {
    if (console_life_.state() == ServiceLife::State::loading) return 0;
    const std::uint64_t console = console_life_.next_look();
    return console < killer_.next() ? console : killer_.next();
}

void Services::do_piece() {
    if (console_life_.state() == ServiceLife::State::loading && !load_console())
        console_failed(console_.why(), false);
}

void Services::open_node_terminal() {
    node_terminal_ = make_channel(
        {ChannelKind::terminal, "node", channel_flag::tells_room, node_event_, node_bit::terminal});
}

void Services::drain() {
    const std::uint64_t end = rdtsc() + tsc_khz_ * 1000;
    for (;;) {
        const std::uint64_t now = rdtsc();
        if (channels_.is_drained() || now >= end) break;
        (void)look(node_bit::console_died);
        do_piece();
        (void)wait(node_event_, next_look() < now ? now : now + tsc_khz_);
    }
    // The last bytes are on their way from the console's hands to the UART.
    const std::uint64_t sent = rdtsc() + tsc_khz_ * 2;
    while (rdtsc() < sent) (void)wait(node_event_, sent);
}

}  // namespace margay::init

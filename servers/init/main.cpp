// init: the supervisor. Starts the servers from the boot modules and the node manifest, owns the VMs,
// and ends the node when the last of them is off.
#include "libipc/channel.hpp"
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "servers/init/control/control_line.hpp"
#include "servers/init/control/node_console.hpp"
#include "servers/init/firmware.hpp"
#include "servers/init/manifest.hpp"
#include "servers/init/node.hpp"
#include "servers/init/pmem_watch.hpp"
#include "servers/init/power.hpp"
#include "servers/init/program.hpp"
#include "servers/init/services.hpp"
#include "servers/init/supervisor.hpp"

namespace margay::init {

namespace {

Manifest manifest;

// Each NUMA node once, if there are several.
void print_nodes(const BootInfo& info, Services& services) {
    const auto first_of = [&info](std::uint32_t node) {
        unsigned i = 0;
        while (info.extent[i].use != ExtentUse::free_ram || info.extent[i].node != node) ++i;
        return i;
    };
    bool several = false;
    for (unsigned i = 0; i < info.extents; ++i)
        several |= info.extent[i].use == ExtentUse::free_ram && info.extent[i].node != 0;
    for (unsigned i = 0; several && i < info.extents; ++i) {
        const BootExtent& e = info.extent[i];
        if (e.use != ExtentUse::free_ram || first_of(e.node) != i) continue;
        const MemoryUse memory = services.memory().use(e.node);
        unsigned cores = 0;
        for (unsigned c = 0; c < info.cores; ++c)
            if (const auto core = query_core(init_slot::first_core + c);
                core && core->node == e.node)
                ++cores;
        log("          node {}: {} core{}, {} MiB free\n", e.node, cores, cores == 1 ? "" : "s",
            memory.free >> 20);
    }
}

void print_banner(const Node& node, Services& services) {
    const BootInfo& info = node.info();
    const MemoryUse memory = services.memory().use();
    log("\n");
    log("  /\\_/\\   Margay node operating system, ABI {}\n", info.abi);
    log(" ( o.o )  {}\n", info.processor[0] != 0 ? info.processor : "unknown processor");
    log("  > ^ <   {} core{}, {} MiB free, {}\n", info.cores, info.cores == 1 ? "" : "s",
        memory.free >> 20,
        info.virtualization != 0 ? "SVM with nested paging"
                                 : "no SVM: this machine cannot run guests");
    print_nodes(info, services);
    log("\n");
    if (services.memory().unused_ram() != 0)
        log("margay: {} MiB of RAM are not used: too many ranges\n",
            services.memory().unused_ram() >> 20);
}

// Memory for the VMs of a manifest, while it is read.
class VmRoom {
  public:
    void open(Node& node) {
        const Result<Extent> memory = node.allocate(max_vms * sizeof(VmConfig));
        if (!memory) fail("there is no memory for a manifest", memory.status());
        const Result<std::uint64_t> at = node.map_here(*memory, map_right::read_write);
        if (!at) fail("there is no room for a manifest", at.status());
        memory_ = *memory;
        at_ = *at;
    }
    std::span<VmConfig> vms() const { return {reinterpret_cast<VmConfig*>(at_), max_vms}; }
    void close(Node& node) {
        node.release(memory_);
        node.give_back_window(memory_, at_);
    }

  private:
    Extent memory_;
    std::uint64_t at_ = 0;
};

// Its VMs are in `room` until the supervisor has them.
bool read_manifest(Node& node, VmRoom& room, ManifestError& error) {
    room.open(node);
    manifest.vms = room.vms();
    const Module* m = node.module("manifest");
    if (m == nullptr) {
        error.what = "there is no boot module named manifest";
        return false;
    }
    const Result<std::uint64_t> at = node.map_here(m->extent, map_right::read);
    if (!at) {
        error.what = to_text(at.status());
        return false;
    }
    error = parse_manifest({reinterpret_cast<const char*>(*at), m->length}, manifest);
    if (error.what != nullptr) manifest.vm_count = 0;
    return error.what == nullptr;
}

ChannelClient client_of(const Channel& channel, Services& services) {
    return {channel.here, services.console_event(), channel.bit};
}

// What was asked on the control line has its answer before the node ends, also where several ended together; unless
// nobody takes it.
void answer_the_last(ChannelClient& control, ControlLine& line, Services& services) {
    for (unsigned i = 0; i <= ControlLine::max_pending; ++i) {
        exchange(control, line);
        if (line.output().empty()) line.give_up("the node is being turned off");
        exchange(control, line);
        if (!line.output().empty() && !services.drain()) return;
    }
}

// Until the node is to end.
void supervise(Supervisor& supervisor, Services& services) {
    static NodeConsole console{supervisor};
    static ControlLine line{supervisor};
    ChannelClient terminal = client_of(services.node_terminal(), services);
    ChannelClient control = client_of(services.control_line(), services);
    console.begin();
    for (;;) {
        exchange(terminal, console);
        exchange(control, line);
        if (supervisor.has_ended() || (!supervisor.any_active() && manifest.power_off_with_last_vm))
            return answer_the_last(control, line, services);
        const std::uint64_t due = services.next_look();
        const std::uint64_t bits = supervisor.serve(due);
        if ((bits & node_bit::channels) != 0) services.channels().collect();
        if ((bits & node_bit::services) == 0 && (due == no_deadline || rdtsc() < due)) continue;
        services.look(bits);
        if ((bits & node_bit::pci_told) != 0) supervisor.devices_told();
        services.do_piece();
    }
}

}  // namespace

[[noreturn]] void run(const BootInfo& info) {
    static Node node{info};  // too large for the stack of the watch
    static Services services;
    services.start_memory(node);
    static const Firmware firmware = read_firmware(node);
    // What is wrong with it is said when there is a console.
    ManifestError error;
    VmRoom room;
    bool good = read_manifest(node, room, error);
    services.start_console(node);
    print_banner(node, services);
    if (!good) {
        log("margay: manifest, line {}, key \"{}\": {}\n", error.line, error.key, error.what);
        (void)services.drain();
        power_off(node, firmware.off, manifest.test_exit_port, false);
    }
    static Supervisor supervisor{node, services, manifest};
    room.close(node);
    manifest.vms = {};
    services.open_node_terminal();
    services.start_devices(node, firmware);
    supervisor.start_all();
    if (manifest.test_kill_services_us != 0) services.kill_for_test(manifest.test_kill_services_us);
    supervise(supervisor, services);
    good = supervisor.all_well();
    (void)services.drain();
    power_off(node, firmware.off, manifest.test_exit_port, good);
}

}  // namespace margay::init

void program_main(std::uint64_t argument) {
    if (margay::init::PmemWatch::is_thread(argument)) margay::init::PmemWatch::run();
    margay::init::run(*reinterpret_cast<const margay::BootInfo*>(argument));
}

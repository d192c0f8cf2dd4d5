// init: the supervisor. Starts the servers from the boot modules and the node manifest, owns the VMs,
// and ends the node when the last of them is off.
#include <cstring>

#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "servers/init/manifest.hpp"
#include "servers/init/node.hpp"
#include "servers/init/power.hpp"
#include "servers/init/program.hpp"
#include "servers/init/services.hpp"
#include "servers/init/vm.hpp"

namespace margay::init {

namespace {

Manifest manifest;
Vm vms[max_vms];

EventBits events;

// Bits of init's own Event; the lower ones are the VMs' (vm_bit).
constexpr std::uint64_t service_died = 1ull << 34;

void print_banner(const Node& node, const Services& services) {
    const BootInfo& info = node.info();
    const Result<MemoryUse> memory = query_memory_use(services.pmem());
    log("\n");
    log("  /\\_/\\   Margay node operating system, ABI {}\n", info.abi);
    log(" ( o.o )  {}\n", info.processor[0] != 0 ? info.processor : "unknown processor");
    log("  > ^ <   {} core{}, {} MiB free, {}\n", info.cores, info.cores == 1 ? "" : "s",
        memory ? memory->free >> 20 : 0,
        info.virtualization != 0 ? "SVM with nested paging"
                                 : "no SVM: this machine cannot run guests");
    log("\n");
}

bool read_manifest(Node& node, ManifestError& error) {
    const BootExtent* m = node.module("manifest");
    if (m == nullptr) {
        error.what = "there is no boot module named manifest";
        return false;
    }
    const Result<std::uint64_t> at = node.map_here({m->slot, m->base, m->size}, map_right::read);
    if (!at) {
        error.what = to_text(at.status());
        return false;
    }
    error = parse_manifest({reinterpret_cast<const char*>(*at), m->length}, manifest);
    if (error.what != nullptr) manifest.vm_count = 0;
    return error.what == nullptr;
}

void configure_vms(Node& node, const Services& services) {
    for (unsigned i = 0; i < manifest.vm_count; ++i) {
        const Connections to{services.terminal(i), services.vmm_log(i), services.console_event(),
                             services.node_event(), services.guest_event(i)};
        vms[i].configure(node, manifest.vms[i], to, events, i);
    }
}

void start_vms() {
    for (unsigned i = 0; i < manifest.vm_count; ++i) {
        const VmConfig& c = manifest.vms[i];
        log("margay: starting guest {}: {} MiB on core {}\n", c.name, c.memory_mib, c.core);
        (void)vms[i].start();
    }
}

// A frozen VM is not off: it is kept for study.
bool any_active() {
    for (unsigned i = 0; i < manifest.vm_count; ++i)
        if (vms[i].state() == VmState::running || vms[i].state() == VmState::frozen) return true;
    return false;
}

std::uint64_t next_look() {
    std::uint64_t next = no_deadline;
    for (unsigned i = 0; i < manifest.vm_count; ++i)
        if (vms[i].next_look() < next) next = vms[i].next_look();
    return next;
}

bool serve(std::uint64_t bits) {
    if (bits & service_died) {
        log("margay: a service of the node died\n");
        return false;
    }
    const std::uint64_t now = rdtsc();
    for (unsigned i = 0; i < manifest.vm_count; ++i) {
        if (bits & vms[i].event_mask()) vms[i].take(bits);
        vms[i].look(now);
    }
    return true;
}

}  // namespace

[[noreturn]] void run(const BootInfo& info) {
    Node node{info};
    static Services services;
    services.start_memory(node);
    // The console's channels follow from the manifest; what is wrong with it is said when there is one.
    ManifestError error;
    bool good = read_manifest(node, error);
    services.start_console(node, manifest, service_died);
    print_banner(node, services);
    if (!good) {
        log("margay: manifest, line {}, key \"{}\": {}\n", error.line, error.key, error.what);
        services.drain();
        power_off(node, manifest.test_exit_port, false);
    }
    events.use(services.node_event());
    configure_vms(node, services);
    start_vms();
    while (any_active() || !manifest.power_off_with_last_vm)
        if (!serve(events.wait(~0ull, next_look()))) {
            good = false;
            break;
        }
    for (unsigned i = 0; i < manifest.vm_count; ++i) good &= vms[i].ended_well();
    services.drain();
    power_off(node, manifest.test_exit_port, good);
}

}  // namespace margay::init

void program_main(std::uint64_t argument) {
    margay::init::run(*reinterpret_cast<const margay::BootInfo*>(argument));
}

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

// Bits of init's own Event.
constexpr std::uint64_t service_died = 1;
constexpr std::uint64_t vm_bit(unsigned index) { return 2ull << index; }

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

// False if one could not be started; the others are.
bool start_vms(Node& node, Services& services) {
    bool all_started = true;
    for (unsigned i = 0; i < manifest.vm_count; ++i) {
        const VmConfig& c = manifest.vms[i];
        log("margay: starting guest {}: {} MiB on core {}\n", c.name, c.memory_mib, c.core);
        const Status s = vms[i].create(node, c, services.terminal(i), services.vmm_log(i),
                                       services.console_event(), services.node_event(), vm_bit(i),
                                       services.guest_event(i));
        if (s != Status::ok) {
            log("margay: guest {} failed: {}: {}\n", c.name, vms[i].why(), to_text(s));
            all_started = false;
        }
    }
    return all_started;
}

// What became of a VM whose vCPU or VMM ended.
bool report_end(Vm& vm) {
    const VmControl& c = vm.control();
    const char* name = vm.config().name;
    vm.set_stopped();
    switch (c.outcome.load()) {
    case VmOutcome::powered_off:
        log("margay: guest {} powered off after {} exits\n", name, c.exits);
        return true;
    case VmOutcome::reset: log("margay: guest {} failed: it reset itself\n", name); return false;
    case VmOutcome::failed: log("margay: guest {} failed: {}\n", name, c.reason); return false;
    case VmOutcome::running: break;
    }
    log("margay: guest {} failed: its VMM died or an exit had no handler\n", name);
    return false;
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
    good = start_vms(node, services);

    for (;;) {
        unsigned running = 0;
        for (unsigned i = 0; i < manifest.vm_count; ++i) running += vms[i].is_running();
        if (running == 0 && manifest.power_off_with_last_vm) break;
        const Result<std::uint64_t> bits = wait(services.node_event());
        if (!bits) fail("init cannot wait", bits.status());
        if (*bits & service_died) {
            log("margay: a service of the node died\n");
            good = false;
            break;
        }
        for (unsigned i = 0; i < manifest.vm_count; ++i)
            if ((*bits & vm_bit(i)) && vms[i].is_running()) good &= report_end(vms[i]);
    }
    services.drain();
    power_off(node, manifest.test_exit_port, good);
}

}  // namespace margay::init

void program_main(std::uint64_t argument) {
    margay::init::run(*reinterpret_cast<const margay::BootInfo*>(argument));
}

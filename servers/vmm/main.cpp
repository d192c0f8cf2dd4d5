// vmm: the user-level virtual machine monitor. One instance per VM; a state machine fed by the exits of
// its vCPU.
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "proto/vmm.hpp"
#include "servers/vmm/vcpu/machine.hpp"
#include "servers/vmm/vcpu/report.hpp"

namespace margay::vmm {

namespace {

CpuidResult host_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    CpuidResult r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    return r;
}

// SVM feature NRIPS (AMD APM vol. 2 §15.7.1).
bool reports_next_instruction() { return (host_cpuid(0x8000000a, 0).edx & 1 << 3) != 0; }

const StartupItem& need(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

std::span<const std::byte> module(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) return {};
    return {mapped<const std::byte>(*item), item->size};
}

void reset_region(Region& region) {
    region.vcpu = VcpuGlueState{};
    region.vcpu.host_tsc_at_start = rdtsc();
    region.vcpu.offered_vector = no_vector;
    region.vcpu.armed_deadline_ns = vmm::no_deadline;
    BoardConfig config{};
    config.tsc_khz = startup().tsc_khz;
    config.epoch_s = need("epoch").value;
    config.physical_bits = 40;
    config.start_in_x2apic = 1;
    Board::reset(region.board, config, host_cpuid);
}

Machine& machine() {
    static Machine the_machine = [] {
        auto* region = mapped<Region>(need("devices"));
        reset_region(*region);
        const StartupItem& console = need("console");
        const StartupItem& ram = need("ram");
        return Machine{{mapped<std::byte>(ram), ram.size, mapped<VcpuState>(need("state")),
                        need("vcpu").slot, region, mapped<VmControl>(need("control")),
                        ChannelClient{mapped<ConsoleChannel>(console), console.slot, console.value},
                        !reports_next_instruction()}};
    }();
    return the_machine;
}

}  // namespace

}  // namespace margay::vmm

void program_main(std::uint64_t) {
    using namespace margay;
    using namespace margay::vmm;
    open_startup_log();
    Machine& m = machine();
    const std::string_view append{mapped<const char>(need("append"))};
    if (!m.load_guest(module("kernel"), module("initrd"), append))
        fail("the guest cannot be loaded");

    Received r = reply_wait({});
    for (;;) {
        if (r.status != Status::ok) fail("a reply was refused", r.status);
        const Exit e{r.message};
        r = reply_wait(m.handle(e).message(e.sequence));
    }
}

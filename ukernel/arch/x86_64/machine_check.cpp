#include "ukernel/arch/x86_64/machine_check.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"

namespace margay::machine_check {

namespace {

constexpr std::uint32_t mcg_cap = 0x179, mcg_status_msr = 0x17a, mcg_ctl = 0x17b;
constexpr std::uint64_t cap_count = 0xff, cap_has_ctl = 1 << 8;
// Four registers per bank: control, status, address, more.
constexpr std::uint32_t control(unsigned bank) { return 0x400 + 4 * bank; }
constexpr std::uint32_t status(unsigned bank) { return 0x401 + 4 * bank; }

unsigned banks() { return cpu::read_msr(mcg_cap) & cap_count; }

void print_bank(unsigned bank, std::uint64_t s) {
    log("margay: machine check on core {}: bank {} status {x} address {x} more {x}\n",
        Core::here().id, bank, s,
        (s & bank_status::address_valid) != 0 ? cpu::read_msr(status(bank) + 1) : 0,
        (s & bank_status::misc_valid) != 0 ? cpu::read_msr(status(bank) + 2) : 0);
}

}  // namespace

void enable() {
    if (!features().machine_check) return;
    if ((cpu::read_msr(mcg_cap) & cap_has_ctl) != 0) cpu::write_msr(mcg_ctl, ~0ull);
    for (unsigned i = 0; i < banks(); ++i) {
        cpu::write_msr(status(i), 0);
        cpu::write_msr(control(i), ~0ull);
    }
    cpu::write_cr4(cpu::read_cr4() | cpu::cr4::mce);
}

bool serve() {
    if (!features().machine_check) return false;
    const std::uint64_t global = cpu::read_msr(mcg_status_msr);
    if ((global & mcg_status::in_progress) == 0) return false;
    ++Core::here().machine_checks;
    bool fatal = (global & mcg_status::restart_valid) == 0;
    for (unsigned i = 0; i < banks(); ++i) {
        const std::uint64_t s = cpu::read_msr(status(i));
        const Severity severity = severity_of(s);
        if (severity == Severity::none) continue;
        if (severity == Severity::fatal) print_bank(i, s);
        fatal = fatal || severity == Severity::fatal;
        cpu::write_msr(status(i), 0);
    }
    if (fatal) stop_node("a machine check that the processor could not correct");
    cpu::write_msr(mcg_status_msr, 0);
    return true;
}

}  // namespace margay::machine_check

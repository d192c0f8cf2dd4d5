// Classes mmio and port (string forms): what the processor did not finish is executed by the emulator.
#include "libipc/log.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::apply(const EmulationResult& result, Reply& r) {
    r.action = Action::resume;
    r.dirty |= result.dirty;
    switch (result.outcome) {
    case Emulation::done:
        if (result.single_step) {
            constexpr unsigned debug_exception = 1;
            constexpr std::uint64_t dr6_bs = 1 << 14;
            read_state(state::debug);
            state_.dr6 |= dr6_bs;
            inject_exception(r, debug_exception, false, 0);
            r.dirty |= state::debug;
        }
        return;
    case Emulation::partial:
    case Emulation::exception:
    case Emulation::retry: return;
    case Emulation::unhandled: break;
    }
    log("cannot emulate:");
    for (unsigned i = 0; i < result.code_length && i < sizeof(result.code); ++i)
        log(" {x}", static_cast<unsigned>(result.code[i]));
    log("\n");
    fail(r, result.reason != nullptr ? result.reason : "an instruction that cannot be emulated");
}

void Machine::on_mmio(const Exit& e, Reply& r) {
    apply(emulator_.mmio(state_, e.detail0, e.detail1), r);
}

void Machine::on_port_string(const Exit& e, Reply& r) {
    read_state(state::gpr_low | state::gpr_mid | state::gpr_high | state::rip | state::rflags |
               state::segments | state::control);
    apply(emulator_.port_string(state_, e.detail0), r);
}

}  // namespace margay::vmm

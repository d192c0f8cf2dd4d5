// Classes mmio and port (string forms): what the processor did not finish is executed by the emulator.
#include "libipc/log.hpp"
#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

namespace {
// Of instructions that are not emulated: a guest may try them without end.
constexpr unsigned most_told = 16;
}  // namespace

void Machine::apply(const EmulationResult& result, Reply& r) {
    r.action = Action::resume;
    r.dirty |= result.dirty;
    switch (result.outcome) {
    case Emulation::done:
        if (result.single_step) trap_single_step(r);
        return;
    case Emulation::partial:
    case Emulation::exception:
    case Emulation::retry: return;
    case Emulation::not_emulated:
        if (told_ < most_told) {
            log("guest fault #UD at {x}: {}", state_.rip, result.reason);
            tell_code(result);
            if (++told_ == most_told) log("further ones are not told\n");
        }
        inject_exception(r, exception_vector::invalid_opcode, false, 0);
        return;
    case Emulation::unhandled: break;
    }
    log("cannot emulate");
    tell_code(result);
    fail(r, result.reason != nullptr ? result.reason : "an instruction that cannot be emulated");
}

void Machine::tell_code(const EmulationResult& result) {
    log(":");
    for (unsigned i = 0; i < result.code_length && i < sizeof(result.code); ++i)
        log(" {x}", static_cast<unsigned>(result.code[i]));
    log("\n");
}

void Machine::on_function_touch(const Exit& e, Reply& r) {
    if (!board_.map_function(e.detail0, e.detail1)) return on_mmio(e, r);
    r.action = Action::resume;  // at the same instruction
}

void Machine::on_mmio(const Exit& e, Reply& r) {
    const EmulationResult result = emulator_.mmio(state_, e.detail0, e.detail1);
    if (result.is_plain()) [[likely]] {
        r.action = Action::resume;
        r.dirty |= result.dirty;
    } else {
        apply(result, r);
    }
}

void Machine::on_port_string(const Exit& e, Reply& r) {
    read_state(state::gpr_low | state::gpr_mid | state::gpr_high | state::rip | state::rflags |
               state::segments | state::control);
    apply(emulator_.port_string(state_, e.detail0), r);
}

}  // namespace margay::vmm

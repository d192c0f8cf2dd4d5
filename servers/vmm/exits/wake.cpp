// Classes recall and deadline: console input, the power button, virtual timers.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_wake(const Exit& e, Reply& r) {
    r.action = Action::resume;
    if (e.exit_class == ExitClass::deadline) {
        glue_.edit().armed_deadline_ns = vmm::no_deadline;
        board_.expire(clock_.now_ns());
    } else {
        read_console();
        const std::uint32_t presses = control_.power_presses.load();
        board_.see_power_presses(presses);
        control_.power_presses_seen.store(presses);
    }
}

}  // namespace margay::vmm

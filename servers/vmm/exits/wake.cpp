// Classes recall and deadline: console input, requests of the supervisor, virtual timers.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_wake(const Exit& e, Reply& r) {
    r.action = Action::resume;
    if (e.exit_class == ExitClass::deadline) {
        glue_.edit().armed_deadline_ns = vmm::no_deadline;
        board_.expire(clock_.now_ns());
    } else {
        read_console();
    }
}

}  // namespace margay::vmm

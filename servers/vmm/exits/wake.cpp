// Classes recall and deadline: console input, the power button, messages of other vCPUs, virtual timers.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::take_messages(Reply& r) {
    cpus_.takes_messages[cpu_] = true;
    if (board_.open_inbox()) glue_.edit().kicked = 1;
    obey_messages(r);
    // finish() wakes it then.
    if (glue_->is_off != 0 && (glue_->kicked != 0 || board_.has_nmi())) glue_.edit().is_off = 0;
    cpus_.takes_messages[cpu_] = false;
    if ((glue_->is_off | glue_->awaits_startup) != 0) fail_if_all_are_off(r);
}

// Timers fire while a guest works, and whoever lost the core for long is recalled: often enough for an account of time.
void Machine::update_steal_time() {
    if (!board_.steal_time().is_enabled()) return;
    if (const Result<VcpuStatus> status = query_vcpu(vcpu_))
        board_.steal_time().update(status->waited);
}

void Machine::on_wake(const Exit& e, Reply& r) {
    r.action = Action::resume;
    update_steal_time();
    if (e.exit_class == ExitClass::deadline) {
        glue_.edit().armed_deadline_ns = vmm::no_deadline;
        board_.expire(clock_.now_ns());
    } else {
        if (cpus_.count > 1) take_messages(r);
        if (cpu_ != 0 || e.detail0 == recall_bit::peer) return;
        read_console();
        const std::uint32_t presses = control_.power_presses.load();
        board_.see_power_presses(presses);
        control_.power_presses_seen.store(presses);
    }
}

}  // namespace margay::vmm

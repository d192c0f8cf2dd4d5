// Classes recall and deadline: console input, the power button, messages of other vCPUs and of PCI functions, virtual
// timers.
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

// Timers fire while a guest works, and whoever lost the core for long is recalled: often enough for an account of time. A
// device's messages alone are no occasion: there may be tens of thousands of them in a second.
void Machine::update_steal_time() {
    if (!board_.steal_time().is_enabled()) return;
    if (const Result<VcpuStatus> status = query_vcpu(vcpu_))
        board_.steal_time().update(status->waited);
}

// In the exit behind the one that has committed what the guest wants: see PassThrough.
void Machine::look_after_function() {
    if (board_.settle_function(glue_->waits_for_function - 1U))
        glue_.edit().waits_for_function = 0;
    else
        unusual_.function_wait = FunctionWait::goes_on;
}

void Machine::await_function(unsigned function) {
    glue_.edit().waits_for_function = static_cast<std::uint8_t>(function + 1);
    unusual_.function_wait = FunctionWait::begins;
}

// Timers are served meanwhile; interrupts stay offered.
void Machine::wait_for_function(Reply& r) {
    if (unusual_.function_wait == FunctionWait::begins) arm(r, clock_.now_ns());
    unusual_.function_wait = FunctionWait::none;
    if (r.action == Action::advance)
        r.action = Action::park_advance;
    else if (r.action == Action::resume)
        r.action = Action::park;
}

void Machine::on_wake(const Exit& e, Reply& r) {
    // And lines, which are behind them.
    constexpr std::uint64_t messages = ((1ull << (max_guest_messages + max_guest_functions)) - 1)
                                       << recall_bit::first_message;
    static_assert(recall_bit::first_line == recall_bit::first_message + max_guest_messages);
    r.action = Action::resume;
    const bool is_message =
        e.exit_class == ExitClass::recall && e.detail0 != 0 && (e.detail0 & ~messages) == 0;
    if (!is_message) update_steal_time();
    if (glue_->waits_for_function != 0) look_after_function();
    if (e.exit_class == ExitClass::deadline) {
        glue_.edit().armed_deadline_ns = vmm::no_deadline;
        board_.expire(clock_.now_ns());
    } else {
        if (cpus_.count > 1) take_messages(r);
        if (e.detail0 == recall_bit::peer) return;
        if ((e.detail0 & messages) != 0) {
            board_.function_messages((e.detail0 & messages) >> recall_bit::first_message);
            if ((e.detail0 & ~(messages | recall_bit::peer)) == 0) return;
        }
        if (cpu_ != 0) return;
        board_.functions_granted();
        read_console();
        const std::uint32_t presses = control_.power_presses.load();
        board_.see_power_presses(presses);
        control_.power_presses_seen.store(presses);
    }
}

}  // namespace margay::vmm

#include "ukernel/ipc/ipc.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/transfer.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

void slow_call(Thread& t, EstateLock& held) {
    Core& core = Core::here();
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi] & 0xffff'ffff, ObjectType::portal, right::call);
    if (!slot) {
        t.set_status(slot.status());
        return;
    }
    auto& portal = object_of<Portal>(**slot);
    if (portal.core != &core) {
        t.set_status(Status::wrong_core);
        return;
    }
    Thread* handler = portal.handler;
    const bool open = handler != nullptr && handler->open_on == &core;
    if (open && !can_transfer(t, held)) return;
    // Served at once, through the same door as a caller that had to wait.
    scheduler::block_current(ContextState::queued);
    portal.enqueue(t, *slot, (*slot)->badge);
    if (open) handler->accept_queued();
}

}  // namespace margay

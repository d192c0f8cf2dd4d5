#include "ukernel/ipc/transfer.hpp"

#include "ukernel/object/domain.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/syscall/capability.hpp"

namespace margay {

void transfer_capability(Thread& from, Thread& to) {
    if ((to.gpr[gpr_rsi] & label_transfer) == 0) return;
    const std::uint64_t what = to.gpr[gpr_r13];
    to.gpr[gpr_r13] = 0;
    if (from.domain == nullptr || to.domain == nullptr) return;
    CapSlot* source = from.domain->slot(what & 0xffff'ffff);
    CapSlot* destination = to.receive_slot == no_slot ? nullptr : to.domain->slot(to.receive_slot);
    if (source == nullptr || destination == nullptr) return;
    const auto rights = static_cast<std::uint8_t>(what >> 32);
    if (copy_capability(*source, *to.domain, *destination, rights, 0) == Status::ok)
        to.gpr[gpr_r13] = 1;
}

}  // namespace margay

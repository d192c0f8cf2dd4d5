#include "ukernel/syscall/capability.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

Status copy_call(Thread& t) {
    const Result<CapSlot*> source = find_capability(t, t.gpr[gpr_rdi], ObjectType::none, 0);
    if (!source) return source.status();
    const Result<CapSlot*> domain =
        find_capability(t, t.gpr[gpr_rsi] & 0xffff'ffff, ObjectType::domain, right::grant);
    if (!domain) return domain.status();
    auto& to = *static_cast<Domain*>((*domain)->object);
    const Result<CapSlot*> destination = find_empty(to, t.gpr[gpr_rsi] >> 32);
    if (!destination) return destination.status();
    if (t.gpr[gpr_rdx] > right::all) return Status::bad_argument;
    return copy_capability(**source, to, **destination, static_cast<std::uint8_t>(t.gpr[gpr_rdx]),
                           t.gpr[gpr_r8]);
}

}  // namespace margay

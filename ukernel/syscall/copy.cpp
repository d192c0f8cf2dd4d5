#include "ukernel/object/capability.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

Status copy_call(Thread& t, EstateLock& held) {
    const Result<CapSlot*> source = find_capability(t, t.gpr[gpr_rdi], ObjectType::none, 0);
    if (!source) return source.status();
    const Result<CapSlot*> domain =
        find_capability(t, t.gpr[gpr_rsi] & 0xffff'ffff, ObjectType::domain, right::grant);
    if (!domain) return domain.status();
    if (t.gpr[gpr_rdx] > right::all) return Status::bad_argument;
    if (!held.want((*source)->estate)) return Status::ok;
    return copy_capability(**source, object_of<Domain>(**domain), t.gpr[gpr_rsi] >> 32,
                           static_cast<std::uint8_t>(t.gpr[gpr_rdx]), t.gpr[gpr_r8]);
}

}  // namespace margay

// Holds offsets.hpp against the C++ types.
#include "ukernel/arch/x86_64/offsets.hpp"

#include <cstddef>

#include "ukernel/core/core.hpp"
#include "ukernel/object/portal.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay {

// offsetof of non-standard-layout types is well defined in g++ and clang++ for single inheritance.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

static_assert(offsetof(Core, self) == CORE_SELF);
static_assert(offsetof(Core, current) == CORE_CURRENT);
static_assert(offsetof(Core, cr3) == CORE_CR3);
static_assert(offsetof(Core, stack_top) == CORE_STACK_TOP);
static_assert(offsetof(Core, apic_poke) == CORE_APIC_POKE);
static_assert(offsetof(Core, last_guest) == CORE_LAST_GUEST);
static_assert(offsetof(Core, backend) == CORE_BACKEND);
static_assert(offsetof(Thread, caller) == CTX_CALLER && offsetof(Vcpu, caller) == CTX_CALLER);
static_assert(offsetof(Thread, open_on) == CTX_OPEN_ON);
static_assert(offsetof(Thread, cr3) == CTX_CR3);
static_assert(offsetof(Thread, slots) == CTX_SLOTS);
static_assert(offsetof(Thread, slot_count) == CTX_SLOT_COUNT);
static_assert(offsetof(Thread, state) == CTX_STATE);
static_assert(offsetof(Thread, kind) == CTX_KIND);
static_assert(offsetof(Thread, callers_wait) == CTX_CALLERS_WAIT);
static_assert(offsetof(Thread, full_frame) == CTX_FULL_FRAME);
static_assert(offsetof(Thread, rip) == CTX_RIP);
static_assert(offsetof(Thread, rflags) == CTX_RFLAGS);
static_assert(offsetof(Thread, gpr) == CTX_GPR && offsetof(Vcpu, gpr) == CTX_GPR);
static_assert(offsetof(Vcpu, guest) == VCPU_GUEST);
static_assert(offsetof(Thread, callee) == CTX_CALLEE);
static_assert(static_cast<int>(ContextState::ready) == STATE_READY);
static_assert(static_cast<int>(ContextState::calling) == STATE_CALLING);
static_assert(static_cast<int>(ContextState::accepting) == STATE_ACCEPTING);
static_assert(static_cast<int>(ContextKind::thread) == KIND_THREAD);
static_assert(static_cast<int>(ContextKind::vcpu) == KIND_VCPU);
static_assert(sizeof(CapSlot) == 1 << SLOT_SHIFT);
static_assert(offsetof(CapSlot, type) == SLOT_TYPE);
static_assert(offsetof(CapSlot, rights) == SLOT_RIGHTS);
static_assert(offsetof(CapSlot, object) == SLOT_OBJECT);
static_assert(offsetof(CapSlot, badge) == SLOT_BADGE);
static_assert(static_cast<int>(ObjectType::portal) == TYPE_PORTAL);
static_assert(right::call == RIGHT_CALL);
static_assert(offsetof(Portal, entry) == PORTAL_ENTRY && offsetof(Portal, core) == PORTAL_CORE);
static_assert(static_cast<int>(Syscall::call) == 0 && static_cast<int>(Syscall::reply_wait) == 1);
static_assert(sizeof(Thread) <= storage_thread);
static_assert(sizeof(Vcpu) <= storage_vcpu - page_size);
static_assert(sizeof(Portal) <= storage_small);

}  // namespace margay

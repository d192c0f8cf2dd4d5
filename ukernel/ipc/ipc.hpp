// IPC beside the fast path (arch/x86_64/syscall_entry.S): busy or unbound partners, transfers, errors.
// Only a message that carries a capability takes a lock; see syscall/system_call.hpp for `held`.
#pragma once
#include "ukernel/core/estate.hpp"
#include "ukernel/object/thread.hpp"

namespace margay {

// t is current; its registers hold the call. Sets its status only if the call fails at once.
void slow_call(Thread& t, EstateLock& held);
void slow_reply_wait(Thread& t, EstateLock& held);

}  // namespace margay

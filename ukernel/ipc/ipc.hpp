// IPC beside the fast path (arch/x86_64/syscall_entry.S): busy or unbound partners, transfers, errors.
#pragma once
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay {

// t is current; its registers hold the call. Sets its status only if the call fails at once.
void slow_call(Thread& t);
void slow_reply_wait(Thread& t);

}  // namespace margay

// Capabilities that travel with a message: the slow part of IPC.
#pragma once

namespace margay {

class EstateLock;
struct Context;
struct Thread;

// Whether the message in the context's registers carries a capability. The exit of a vCPU does not.
bool brings_capability(const Context& from);
// Whether the capability that the message in `from`'s registers names (label_transfer), if it names one,
// can be copied with the locks that are held; if not, the lock is asked for.
bool can_transfer(const Context& from, EstateLock& held);

// If the message that was just copied from `from` to `to` says so, copies the named capability into the
// receiver's receive slot and reports the outcome in word 5. After can_transfer.
void transfer_capability(const Thread& from, Thread& to);

}  // namespace margay

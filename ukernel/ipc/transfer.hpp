// Capabilities that travel with a message: the slow part of IPC.
#pragma once

namespace margay {

struct Thread;

// If the message that was just copied from `from` to `to` says so (label_transfer), copies the named
// capability into the receiver's receive slot and reports the outcome in word 5. Under the capability
// lock if the label asks for a transfer.
void transfer_capability(Thread& from, Thread& to);

}  // namespace margay

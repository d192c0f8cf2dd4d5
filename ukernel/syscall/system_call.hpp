// The system calls beside IPC. Each takes the calling thread with its argument registers and returns
// the status; results go into the thread's registers. All run under the capability lock.
#pragma once
#include "ukernel/object/thread.hpp"

namespace margay {

Status create_object(Thread& t);
Status copy_call(Thread& t);
Status map_memory(Thread& t);
Status portal_control(Thread& t);
Status vcpu_control(Thread& t);
Status thread_control(Thread& t);
Status domain_control(Thread& t);
Status irq_control(Thread& t);
Status memory_control(Thread& t);
Status core_control(Thread& t);

// Outside the lock.
Status signal_event(Thread& t);
// Blocks: sets the status itself when it is known.
void wait_event(Thread& t);

}  // namespace margay

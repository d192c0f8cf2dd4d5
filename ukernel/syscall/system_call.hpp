// The system calls beside IPC. Each takes the calling thread with its argument registers and returns
// the status; results go into the thread's registers.
#pragma once
#include "ukernel/core/estate.hpp"
#include "ukernel/object/thread.hpp"

namespace margay {

// Those that change the derivation tree. They run with the locks that they want: one that lacks a lock
// says so (EstateLock::want), changes nothing, and is called again with it.
Status create_object(Thread& t, EstateLock& held);
Status copy_call(Thread& t, EstateLock& held);
Status map_memory(Thread& t, EstateLock& held);
Status portal_control(Thread& t, EstateLock& held);
Status vcpu_control(Thread& t, EstateLock& held);
Status thread_control(Thread& t, EstateLock& held);
Status irq_control(Thread& t, EstateLock& held);
Status device_control(Thread& t, EstateLock& held);

// Those that do not: they take no lock.
Status domain_control(Thread& t);
Status memory_control(Thread& t);
Status core_control(Thread& t);
Status signal_event(Thread& t);
// Blocks: sets the status itself when it is known.
void wait_event(Thread& t);

// Binds a portal to the handler whose capability this is.
Status bind_portal(Portal& portal, CapSlot& thread, EstateLock& held);
// Binds the death event of a context to the capability that the call names.
Status set_death_event(Thread& t, Context& c, EstateLock& held);

}  // namespace margay

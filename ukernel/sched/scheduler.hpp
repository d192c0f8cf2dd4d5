// Scheduling on one core. All functions act on the core they run on.
#pragma once
#include "ukernel/core/core.hpp"

namespace margay::scheduler {

// A context that waited becomes ready on the budget it holds (its own if none).
void make_ready(Context& context);
// The current context waits from now on; it keeps its budget.
void block_current(ContextState why);
// Takes a context out of everything it waits in or runs on.
void detach(Context& context);

// Sets, moves or removes a context's deadline (TSC).
void set_deadline(Context& context, std::uint64_t at);
// Fires passed deadlines and the end of the quantum, and arms the timer for the next.
void serve_timer();

// The current context goes behind the others of its priority.
void yield();

// Leaves the kernel: enters the current context or picks another. The end of every slow path.
[[noreturn]] void leave();

}  // namespace margay::scheduler

#include "ukernel/core/shootdown.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"

namespace margay {

namespace {

// User translations are not global: loading CR3 drops them. Guests are flushed by their tables'
// generation on the next entry; leaving the guest is what the IPI does.
void flush(void*) { cpu::write_cr3(cpu::read_cr3()); }

}  // namespace

void shootdown(CoreMask cores) {
    Core& here = Core::here();
    RemoteWork work[max_cores];
    CoreMask sent = 0;
    for (unsigned i = 0; i < Core::count(); ++i) {
        Core& core = *Core::by_id(i);
        if ((cores >> i & 1) == 0 || &core == &here || !core.online) continue;
        RemoteWork& w = work[i];
        w.run = flush;
        w.next = core.remote.load();
        while (!core.remote.compare_exchange_weak(w.next, &w)) {}
        core.kick();
        sent |= 1ull << i;
    }
    flush(nullptr);
    for (unsigned i = 0; i < Core::count(); ++i) {
        if ((sent >> i & 1) == 0) continue;
        while (!work[i].done.load(std::memory_order_acquire)) {
            here.serve_others();
            cpu::pause();
        }
    }
}

}  // namespace margay

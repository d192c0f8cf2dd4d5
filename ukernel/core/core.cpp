#include "ukernel/core/core.hpp"

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/cores.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/memory/translations.hpp"

namespace margay {

namespace {
Core** table = nullptr;
unsigned cores = 0;
}  // namespace

Core* Core::by_id(std::uint64_t id) { return id < cores ? table[id] : nullptr; }
unsigned Core::count() { return cores; }

void reserve_cores(Core** room) { table = room; }

void register_core(Core& core) {
    core.id = cores;
    table[cores++] = &core;
}

void Core::flush_here() { drop_user_translations(); }

void Core::do_work() {
    if (const std::uint64_t wanted = flush_wanted.load(std::memory_order_acquire);
        wanted != flush_done.load(std::memory_order_relaxed)) {
        flush_here();
        flush_done.store(wanted, std::memory_order_release);
    }
    if (remote.load(std::memory_order_relaxed) != nullptr) {
        for (RemoteWork* w = remote.exchange(nullptr); w != nullptr;) {
            RemoteWork* next = w->next;  // the requester may reuse it once done is set
            w->run(w->argument);
            w->done.store(true, std::memory_order_release);
            w = next;
        }
    }
    if (mailbox.load(std::memory_order_relaxed) != nullptr) {
        for (Mail* m = mailbox.exchange(nullptr); m != nullptr;) {
            Mail* next = m->next;
            m->arrive(*m);
            m = next;
        }
    }
}

void Core::run_here(void (*work)(void*), void* argument) {
    Core& mine = here();
    if (&mine == this) {
        work(argument);
        return;
    }
    RemoteWork w;
    w.run = work;
    w.argument = argument;
    w.next = remote.load();
    while (!remote.compare_exchange_weak(w.next, &w)) {}
    kick();
    // The other core may be waiting for us in the same way.
    for (unsigned turn = 1; !w.done.load(std::memory_order_acquire); ++turn) {
        mine.serve_work();
        remind(turn);
        measure::pause();
    }
}

#ifdef MARGAY_MEASURE
unsigned measure::here() { return Core::here().id; }
unsigned measure::cores() { return Core::count(); }
#endif

void Core::kick() { apic::send_kick(apic_id); }

}  // namespace margay

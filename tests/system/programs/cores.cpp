// Every core runs a thread of its own, and says what it is.
#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

[[gnu::section(".text.child_hello"), gnu::aligned(4096)]] void hello(Shared* s) {
    s->words[0] = 1;
    for (;;) asm volatile("pause");
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node node{*reinterpret_cast<const BootInfo*>(argument)};
    use_largest_extent(node);
    unsigned answered = 0;
    for (unsigned core = 0; core < node.info().cores; ++core) {
        Child child{node};
        child.make(core, 33, hello);
        const Slot nothing = must(node.create_event(), "event");
        if (core == 0)
            must(thread_ctl(child.thread, ThreadOp::set_death_event, nothing, 1), "event");
        if (core != 0) child.start();
        for (unsigned i = 0; i < 2000 && child.shared->words[0] == 0 && core != 0; ++i)
            (void)wait(nothing, rdtsc() + node.info().tsc_khz);
        if (core == 0 || child.shared->words[0] == 1) ++answered;
        child.destroy();
        const CoreInfo info = must(query_core(init_slot::first_core + core), "core");
        const bool behind = info.tsc_offset < 0;
        say("core {}: APIC id {}{}{}, node {}, clock {}{} within {}\n", core, info.apic_id,
            (info.flags & core_flag::x2apic) != 0 ? " (x2APIC)" : "",
            (info.flags & core_flag::pcid) != 0 ? " (PCID)" : "", info.node, behind ? "-" : "",
            behind ? -info.tsc_offset : info.tsc_offset, info.tsc_error);
        // Against itself there is nothing to measure.
        if (core != 0 && info.tsc_error == ~0ull) say("FAILED clock of core {}\n", core);
    }
    for (unsigned i = 0; i < node.info().extents; ++i) {
        const BootExtent& e = node.info().extent[i];
        if (e.use == ExtentUse::free_ram)
            say("RAM {x} {x} node {}\n", e.base, e.base + e.size, e.node);
    }
    say("{} cores answered\n", answered);
    end(answered == node.info().cores);
}

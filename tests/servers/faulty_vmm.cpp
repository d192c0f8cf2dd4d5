// A VMM that fails on request: the production VMM, and a hook around each exit. What it does stands in
// the manifest's vmm_options:
//
//   every=N offset=K   dies at every exit whose number is K modulo N, once at each
//   alarm              tells the supervisor instead, which kills it at some instruction soon after, if the
//                      manifest's test_kill_us is not 0
//   late               dies behind the handler, just before the reply; otherwise before it
//   hang=S             never answers exit S, if it is the first to see it
//   corrupt=S          fills its own data with garbage at exit S, if it is the first to see it
//   deadly=S           dies at exit S, every time
//   start              dies before it serves
#include <cstring>

#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "proto/vmm.hpp"
#include "servers/vmm/serve.hpp"
#include "support/options.hpp"

namespace {

using namespace margay;
using namespace margay::vmm;

[[noreturn]] void die() { __builtin_trap(); }

struct Faults {
    std::uint64_t every = 0, offset = 0, hang = 0, corrupt = 0, deadly = 0;
    bool late = false, alarm = false;

    explicit Faults(std::string_view line)
        : every{find_number(line, "every").value_or(0)},
          offset{find_number(line, "offset").value_or(0)},
          hang{find_number(line, "hang").value_or(0)},
          corrupt{find_number(line, "corrupt").value_or(0)},
          deadly{find_number(line, "deadly").value_or(0)},
          late{find_option(line, "late").has_value()},
          alarm{find_option(line, "alarm").has_value()} {}

    void fall() const {
        if (!alarm) die();
        const StartupItem* supervisor = find_startup_item("supervisor");
        (void)signal(supervisor->slot, supervisor->value);
    }
    bool dies_at(const Exit& e) const {
        return every != 0 && (e.flags & exit_flag::replayed) == 0 && e.sequence % every == offset;
    }
    void before(const Exit& e) const {
        if (e.sequence == deadly && deadly != 0) die();
        if ((e.flags & exit_flag::replayed) != 0) return;
        if (e.sequence == hang)
            for (;;) asm volatile("pause");
        // Pointers that lead nowhere: not even canonical.
        if (e.sequence == corrupt)
            std::memset(static_cast<void*>(&the_machine()), 0xa5, sizeof(Machine));
        if (!late && dies_at(e)) fall();
    }
    void after(const Exit& e, Reply&) const {
        if (late && dies_at(e)) fall();
    }
};

}  // namespace

void program_main(std::uint64_t) {
    const StartupItem* append = find_startup_item("append");
    const std::string_view options{mapped<const char>(*append) + vmm_options_offset};
    if (find_option(options, "start")) die();
    Faults faults{options};
    serve(faults);
}

// The production VMM, and around each exit the question what is to become of it. Each basic block counts:
// see vmm_seam.hpp.
#include "tests/host_node/programs/vmm_seam.hpp"

#include "libipc/start.hpp"
#include "servers/vmm/serve.hpp"

namespace {

using namespace margay;
using namespace margay::vmm;

struct Hook {
    void before(const Exit& e) const { look(e, false); }
    void after(const Exit& e, const Reply& r) const {
        const std::uint64_t values[13] = {static_cast<std::uint64_t>(e.exit_class),
                                          e.flags,
                                          e.sequence,
                                          e.rip,
                                          e.detail0,
                                          e.detail1,
                                          e.rax,
                                          e.rflags,
                                          static_cast<std::uint64_t>(r.action),
                                          r.dirty,
                                          r.rax,
                                          r.vector,
                                          r.deadline};
        host_node_vmm_answer(values);
        look(e, true);
    }
    static void look(const Exit& e, bool after) {
        switch (host_node_vmm_moment(e.sequence, (e.flags & exit_flag::replayed) != 0, after)) {
        case 0: return;
        case 1: __builtin_trap();
        default:
            for (;;) host_node_spin();
        }
    }
};

}  // namespace

// The compiler calls it at the beginning of each basic block.
extern "C" [[gnu::no_sanitize_coverage]] void __sanitizer_cov_trace_pc() {
    if (host_node_blocks_left != 0 && --host_node_blocks_left == 0) __builtin_trap();
}

void program_main(std::uint64_t argument) {
    const Hook hook;
    serve(hook, argument);
}

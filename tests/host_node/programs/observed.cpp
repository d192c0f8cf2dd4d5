// Linked into programs that are to be disturbed anywhere: see vmm_seam.hpp.
#include "tests/host_node/programs/vmm_seam.hpp"

// The compiler calls it at the beginning of each basic block.
extern "C" [[gnu::no_sanitize_coverage]] void __sanitizer_cov_trace_pc() {
    if (host_node_on_block != nullptr) host_node_on_block();
}

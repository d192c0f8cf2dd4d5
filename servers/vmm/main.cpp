// vmm: the user-level virtual machine monitor. One instance per VM; a state machine fed by the exits of
// its vCPU.
#include "libipc/start.hpp"
#include "servers/vmm/serve.hpp"

void program_main(std::uint64_t) {
    margay::vmm::NoHook none;
    margay::vmm::serve(none);
}

// vmm: the user-level virtual machine monitor. One instance per VM; a state machine fed by the exits of
// its vCPUs.
#include "libipc/start.hpp"
#include "servers/vmm/serve.hpp"

void program_main(std::uint64_t argument) {
    margay::vmm::NoHook none;
    margay::vmm::serve(none, argument);
}

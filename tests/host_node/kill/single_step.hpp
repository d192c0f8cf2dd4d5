#pragma once

#include <functional>

namespace margay::vmm::kill {

/// Run `body` in a child process, instruction by instruction. `look` is called after each, with the child
/// stopped, and says whether to go on; if not, the child is killed there. Returns how many instructions
/// were executed. Memory that the parent is to see must be shared.
unsigned long single_step(const std::function<void()>& body,
                          const std::function<bool(unsigned long)>& look);

}  // namespace margay::vmm::kill

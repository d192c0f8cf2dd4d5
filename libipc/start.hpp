// Start-up of a program: libipc runs the constructors, then this function of the program.
#pragma once
#include <cstdint>

// argument: boot_info_address for init, startup_address for servers; of a further thread of the program, a number below
// page_size is added, and the constructors have run.
// The one name that a program shows when it is built as a shared object (tests/host_node).
extern "C" [[gnu::visibility("default")]] void program_main(std::uint64_t argument);

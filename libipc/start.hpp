// Start-up of a program: libipc runs the constructors, then this function of the program.
#pragma once
#include <cstdint>

// argument: boot_info_address for init, startup_address for servers.
extern "C" void program_main(std::uint64_t argument);

# Sources of the instruction emulator. They need the decoder: link zydis or zydis_host.
set(MARGAY_VMM_EMULATOR_SOURCES
    servers/vmm/emulator/decoder.cpp
    servers/vmm/emulator/emulator.cpp
    servers/vmm/emulator/execution.cpp
    servers/vmm/emulator/execution_memory.cpp
    servers/vmm/emulator/execution_string.cpp
    servers/vmm/emulator/guest_walk.cpp
    servers/vmm/emulator/instruction_fetch.cpp
    servers/vmm/emulator/instruction_length.cpp
    servers/vmm/emulator/walk_cache.cpp)

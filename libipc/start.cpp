#include "libipc/start.hpp"

#include "libipc/system_call.hpp"

extern "C" {
using Constructor = void (*)();
extern Constructor init_array_begin[], init_array_end[];

[[noreturn]] void start_program(std::uint64_t argument) {
    // A further thread of the program has its number in the argument.
    if (argument % margay::page_size == 0)
        for (Constructor* c = init_array_begin; c != init_array_end; ++c) (*c)();
    program_main(argument);
    // A program that has nothing left to do faults: its supervisor is told.
    __builtin_trap();
}
}

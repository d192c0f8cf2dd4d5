// Symbolised backtraces through frame pointers, of the kernel and of user programs.
#pragma once
#include <cstdint>

namespace margay {

struct Domain;

// Reads 8 bytes of an address space without ever faulting; false if nothing is mapped there.
using ReadWord = bool (*)(const Domain* domain, std::uint64_t address, std::uint64_t& value);

bool read_kernel_word(const Domain*, std::uint64_t address, std::uint64_t& value);
bool read_user_word(const Domain* domain, std::uint64_t address, std::uint64_t& value);

// Prints the frames from (rip, rbp) on, with the names of the symbol table at `symbols`.
// The caller holds the console lock.
void print_backtrace(ReadWord read, const Domain* domain, std::uint64_t symbols, std::uint64_t rip,
                     std::uint64_t rbp);

}  // namespace margay

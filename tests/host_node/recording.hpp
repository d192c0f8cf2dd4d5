// A recorded run of a real guest: its exits, what its VMM needed to answer them, and the answers.
// recordings/README.md says how one is made and what its lines mean.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "libipc/raw.hpp"

namespace margay::host_node {

struct RecordedExit {
    std::uint64_t exit_class, flags, tsc, rip, detail0, detail1, rax, rflags;
    std::uint64_t action, dirty, result, vector, deadline;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> memory;  // before: address, word
    std::vector<std::pair<unsigned, std::uint64_t>> state;        // before: word of VcpuState
    std::vector<std::pair<unsigned, std::uint64_t>> changed;      // likewise, by the VMM
};

struct Recording {
    std::uint64_t tsc_khz = 0, begin = 0, epoch = 0;
    std::map<std::pair<std::uint32_t, std::uint32_t>, raw::Cpuid> processor;
    std::vector<RecordedExit> exits;  // that with sequence number n is exits[n - 1]

    // Throws std::runtime_error with the line that cannot be read.
    static Recording read(const std::string& path);
};

}  // namespace margay::host_node

#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// The answer to an exit that has changed what the vCPUs share, written before others may see the change: from then
/// on the exit is done, and whoever gets it again sends this answer again. Never rolled back.
struct AnswerState {
    std::uint64_t number;  ///< of the transaction; 0: none. Written last
    std::uint64_t action;
    std::uint64_t dirty;  ///< groups of the state page, see proto/exit.hpp
    std::uint64_t rax;
    std::uint64_t vector;
    std::uint64_t deadline;
    std::uint64_t gpr[16];  ///< of the state page, as are the others
    std::uint64_t rip;
    std::uint64_t rflags;
    std::uint64_t cr2;
    std::uint64_t dr6;
    std::uint64_t event;
};

MARGAY_STATE(AnswerState, "answer", 1, 1, section_flag::critical, number, action, dirty, rax,
             vector, deadline, gpr, rip, rflags, cr2, dr6, event);

}  // namespace margay::vmm

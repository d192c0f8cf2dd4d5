#pragma once

#include "servers/vmm/board_state.hpp"
#include "servers/vmm/state/region.hpp"
#include "servers/vmm/vcpu/console_state.hpp"
#include "servers/vmm/vcpu/cpu_state.hpp"
#if MARGAY_NEXT_STATE
#include "servers/vmm/statistics_state.hpp"
#endif

namespace margay::vmm {

/// All state of a VM that outlives its VMM, as this build lays it out.
struct VmState {
    CpuState cpu;  // of vCPU 0; the others have regions of their own
    StateSlot<ConsoleState> console;
    BoardState board;
#if MARGAY_NEXT_STATE
    StateSlot<StatisticsState> statistics;
#endif
};

}  // namespace margay::vmm

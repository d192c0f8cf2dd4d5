#pragma once

#include <cstdint>

namespace margay::vmm {

/// Outcome of an MSR access.
enum class MsrResult : std::uint8_t {
    done,
    fault,  ///< a known register refuses the access: inject #GP
    unknown,  ///< no such register: #GP or zero, as the VM's `unknown_msrs` says; worth a log line the first time
};

}  // namespace margay::vmm

#pragma once

#include "servers/vmm/loader/load_error.hpp"
#include "servers/vmm/loader/start_state.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace margay::vmm {

/// What a guest is made of, whatever its boot protocol is.
struct GuestImage {
    std::span<const std::byte> kernel;
    std::span<const std::byte> initrd;  ///< initrd, or the only module; may be empty
    std::string_view command_line;      ///< without a terminating zero
    std::uint64_t rsdp;                 ///< guest-physical address of the ACPI RSDP; 0: none
    /// Counts the bytes of kernel and initrd that are in place, while they are moved; null: nobody looks.
    std::atomic<std::uint64_t>* placed = nullptr;
};

/// What a loader gives: `error` none and the start state, or an error and nothing written to RAM.
struct LoadResult {
    LoadError error;
    StartState start;
};

}  // namespace margay::vmm

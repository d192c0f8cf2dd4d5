#pragma once

#include <cstdint>
#include <type_traits>

namespace margay::vmm {

/// Where one section of the device state lives: as it is, and as it was when transaction `saved_in` first
/// changed it. A successor copies `saved` back if that transaction was never committed.
template <typename T>
struct StateSlot {
    static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>);
    static_assert(sizeof(T) % 8 == 0 && alignof(T) <= 8, "sections are copied by words");

    std::uint64_t saved_in;  ///< transaction that `saved` belongs to; 0: none
    T live;
    T saved;
};

}  // namespace margay::vmm

#pragma once

namespace margay::vmm {

/// Stores before this are made before stores after it. The journal is read by a successor on this machine,
/// after the writer has ended: the compiler is the only one that could reorder.
inline void order_stores() noexcept { asm volatile("" ::: "memory"); }

}  // namespace margay::vmm

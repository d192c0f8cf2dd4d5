#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

/// What dsdt.asl has for some VMs only.
struct DsdtOptions {
    /// A second window for BARs, guest-physical; 0 bytes: there is none.
    std::uint64_t window = 0, window_bytes = 0;
    /// Functions interrupt by lines: where those end.
    bool lines = false;
};

/// Switches them on in a DSDT as compiled; its checksum stays right. False: it does not have what is asked for.
[[nodiscard]] bool apply(std::span<std::byte> dsdt, const DsdtOptions& options) noexcept;

}  // namespace margay::vmm

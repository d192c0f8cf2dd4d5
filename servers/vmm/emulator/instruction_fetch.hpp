#pragma once

#include "servers/vmm/emulator/walk_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace margay::vmm {

inline constexpr unsigned longest_instruction = 15;  // AMD APM vol. 3 §1.1

/// Instruction bytes, at most `longest_instruction`.
struct FetchedBytes {
    enum class End : std::uint8_t {
        complete,    ///< all bytes are there
        page_fault,  ///< the byte after the last one faults: `error_code`, `address`
        no_memory,   ///< the byte after the last one, or its page table, is not in RAM
        not_canonical,
        limit,  ///< the byte after the last one is beyond the code segment
    };
    std::byte bytes[16];  ///< zero behind `count`
    std::uint8_t count;
    End end;
    std::uint32_t error_code;
    std::uint64_t address;
};

/// The linear address of the instruction.
[[nodiscard]] inline std::uint64_t code_address(const VcpuState& s, const CpuMode& mode) noexcept {
    return mode.is_64bit() ? s.rip : (s.cs.base + (s.rip & mode.ip_mask())) & 0xffff'ffff;
}

[[nodiscard]] constexpr bool is_canonical(std::uint64_t linear, unsigned bits) noexcept {
    const unsigned unused = 64 - bits;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(linear << unused) >> unused) ==
           linear;
}

/// Where the next 16 bytes of code lie, if a remembered walk says so and they are in one page of RAM and
/// inside the segment; else nullptr: use fetch_instruction().
[[nodiscard]] inline const std::byte* code_window(const WalkCache& cache, const VcpuState& s,
                                                  const CpuMode& mode,
                                                  std::uint64_t linear) noexcept {
    if ((linear & 0xfff) > 0x1000 - 16 || (!mode.is_64bit() && s.rip + 15 > s.cs.limit))
        [[unlikely]] {
        return nullptr;
    }
    const auto* const page = cache.find(mode, s.cr3, linear, AccessKind::fetch);
    return page == nullptr || page->ram == nullptr ? nullptr : page->ram + (linear & 0xfff);
}

/// Fetch the bytes at CS:RIP, page by page. Needs the state groups rip, rflags, segments and control.
[[nodiscard]] FetchedBytes fetch_instruction(GuestMemory& memory, WalkCache& cache,
                                             const VcpuState& s, const CpuMode& mode) noexcept;

/// For reports: copy what can be read at CS:RIP, and say how many bytes that is.
std::size_t read_guest_code(GuestMemory& memory, const VcpuState& s,
                            std::span<std::byte> bytes) noexcept;

}  // namespace margay::vmm

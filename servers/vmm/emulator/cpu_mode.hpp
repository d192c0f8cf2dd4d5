#pragma once

#include "proto/vcpu_state.hpp"

#include <cstdint>

namespace margay::vmm {

/// Default operand and address size of the code segment, in bytes (AMD APM vol. 2 §4.7, §4.8).
enum class CodeSize : std::uint8_t { bits16 = 2, bits32 = 4, bits64 = 8 };

/// AMD APM vol. 2 §5.1. `legacy` has two levels of 4-byte entries, the others 8-byte entries.
enum class Paging : std::uint8_t { off, legacy, pae, four_level, five_level };

namespace rflags {
inline constexpr std::uint64_t cf = 1 << 0;
inline constexpr std::uint64_t pf = 1 << 2;
inline constexpr std::uint64_t af = 1 << 4;
inline constexpr std::uint64_t zf = 1 << 6;
inline constexpr std::uint64_t sf = 1 << 7;
inline constexpr std::uint64_t tf = 1 << 8;
inline constexpr std::uint64_t df = 1 << 10;
inline constexpr std::uint64_t of = 1 << 11;
inline constexpr std::uint64_t rf = 1 << 16;
inline constexpr std::uint64_t vm = 1 << 17;
inline constexpr std::uint64_t ac = 1 << 18;
inline constexpr std::uint64_t arithmetic = cf | pf | af | zf | sf | of;
}  // namespace rflags

/// Bits of SegmentState::attributes (VMCB format).
namespace segment_attribute {
inline constexpr unsigned writable_or_readable = 1 << 1;  ///< data: writable; code: readable
inline constexpr unsigned expand_down = 1 << 2;           ///< data only
inline constexpr unsigned code = 1 << 3;
inline constexpr unsigned dpl_shift = 5;
inline constexpr unsigned present = 1 << 7;
inline constexpr unsigned long_mode = 1 << 9;
inline constexpr unsigned big = 1 << 10;
}  // namespace segment_attribute

/// What of the control state decides how memory is addressed. Needs the state groups rflags, segments and
/// control. Protection keys are not modelled: the guest's CPUID must not offer them.
struct CpuMode {
    static constexpr std::uint8_t write_protect = 1;  ///< CR0.WP
    static constexpr std::uint8_t smep = 2;
    static constexpr std::uint8_t smap = 4;          ///< CR4.SMAP, and RFLAGS.AC is clear
    static constexpr std::uint8_t no_execute = 8;    ///< EFER.NXE, and 8-byte entries
    static constexpr std::uint8_t large_pages = 16;  ///< CR4.PSE; only for legacy paging
    static constexpr std::uint8_t user = 32;         ///< CPL 3
    static constexpr std::uint8_t segmented = 64;    ///< protected mode: segment rights count

    CodeSize code;
    std::uint8_t reserved = 0;
    std::uint8_t flags;  // before `paging`, so that key() is one load
    Paging paging;

    /// Paging and flags in one number below 2^16.
    [[nodiscard]] constexpr unsigned key() const noexcept {
        return static_cast<unsigned>(paging) << 8 | flags;
    }
    [[nodiscard]] constexpr bool has(std::uint8_t flag) const noexcept {
        return (flags & flag) != 0;
    }
    [[nodiscard]] constexpr bool is_64bit() const noexcept { return code == CodeSize::bits64; }
    /// Bits of a linear address: 32 outside long mode and in its compatibility modes.
    [[nodiscard]] constexpr unsigned linear_bits() const noexcept {
        return !is_64bit() ? 32 : paging == Paging::five_level ? 57 : 48;
    }
    /// The instruction pointer keeps these bits.
    [[nodiscard]] constexpr std::uint64_t ip_mask() const noexcept {
        return code == CodeSize::bits64   ? ~std::uint64_t{0}
               : code == CodeSize::bits32 ? 0xffff'ffff
                                          : 0xffff;
    }

    [[nodiscard]] static CpuMode of(const VcpuState& s) noexcept {
        constexpr std::uint64_t pg = 1U << 31, wp = 1 << 16, pe = 1;
        constexpr std::uint64_t pse = 1 << 4, pae = 1 << 5, la57 = 1 << 12;
        constexpr std::uint64_t smep_bit = 20, smap_bit = 21;
        constexpr std::uint64_t lma = 1 << 10, nxe = 1 << 11;

        CpuMode mode;
        mode.code = (s.cs.attributes & segment_attribute::long_mode) != 0 && (s.efer & lma) != 0
                        ? CodeSize::bits64
                    : (s.cs.attributes & segment_attribute::big) != 0 ? CodeSize::bits32
                                                                      : CodeSize::bits16;
        unsigned flags = (s.cr0 & wp) != 0 ? write_protect : 0U;
        flags |= ((s.cr4 >> smep_bit) & 1) * smep;
        flags |= ((s.cr4 >> smap_bit) & 1) * ((s.rflags & rflags::ac) != 0 ? 0U : smap);
        const bool virtual_8086 = (s.rflags & rflags::vm) != 0;
        if ((s.cr0 & pe) != 0) {
            flags |= virtual_8086 ? user : segmented;
            if (((s.ss.attributes >> segment_attribute::dpl_shift) & 3) == 3) {
                flags |= user;
            }
        }
        if ((s.cr0 & pg) == 0) {
            mode.paging = Paging::off;
        } else if ((s.cr4 & pae) == 0) {
            mode.paging = Paging::legacy;
            flags |= (s.cr4 & pse) != 0 ? large_pages : 0U;
        } else {
            mode.paging = (s.efer & lma) == 0   ? Paging::pae
                          : (s.cr4 & la57) == 0 ? Paging::four_level
                                                : Paging::five_level;
            flags |= (s.efer & nxe) != 0 ? no_execute : 0U;
        }
        mode.flags = static_cast<std::uint8_t>(flags);
        return mode;
    }
};

/// The mode of a vCPU whose control state seldom changes.
class CpuModeCache {
  public:
    /// Valid until the next call.
    [[nodiscard]] const CpuMode& of(const VcpuState& s) noexcept {
        const std::uint64_t rest = (s.rflags & (rflags::vm | rflags::ac)) << 32 |
                                   std::uint64_t{s.cs.attributes} << 16 | s.ss.attributes;
        if (((cr0_ ^ s.cr0) | (cr4_ ^ s.cr4) | (efer_ ^ s.efer) | (rest_ ^ rest)) != 0)
            [[unlikely]] {
            mode_ = CpuMode::of(s);
            cr0_ = s.cr0;
            cr4_ = s.cr4;
            efer_ = s.efer;
            rest_ = rest;
        }
        return mode_;
    }

  private:
    std::uint64_t cr0_ = 0, cr4_ = 0, efer_ = 0;
    std::uint64_t rest_ = ~std::uint64_t{0};  // no state gives this
    CpuMode mode_{};
};

}  // namespace margay::vmm

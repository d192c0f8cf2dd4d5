// Where the processor puts each part of the vector registers (AMD APM vol. 2 §11.5, standard form), and where
// the state page has it. Pure: host tests run it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "proto/vcpu_state.hpp"

namespace margay {

// A part behind the FXSAVE image and the header of 64 bytes.
struct XsavePart {
    unsigned bit;         // of XCR0
    std::size_t in_page;  // offset in VcpuState
    std::size_t size;     // bytes
};
constexpr XsavePart xsave_parts[] = {
    {2, offsetof(VcpuState, ymm_high), sizeof(VcpuState::ymm_high)},
    {5, offsetof(VcpuState, opmask), sizeof(VcpuState::opmask)},
    {6, offsetof(VcpuState, zmm_high), sizeof(VcpuState::zmm_high)},
    {7, offsetof(VcpuState, zmm_upper), sizeof(VcpuState::zmm_upper)},
    {9, offsetof(VcpuState, pkru), sizeof(VcpuState::pkru)},
};
constexpr std::size_t xsave_header = 512, xsave_header_bytes = 64;
// The largest area of the parts above on any processor, where MPX has its place between them.
constexpr std::size_t xsave_bytes = 2752;

struct XsaveLayout {
    std::uint64_t supported = 0;  // bits of XCR0 that guests may set; 0: there is no XSAVE
    std::uint16_t offset[10] = {};

    // From CPUID 0Dh. leaf(subleaf): the registers of that leaf. Parts that are not where or what they should
    // be are left out.
    template <typename Leaf>
    static constexpr XsaveLayout detect(Leaf leaf) {
        XsaveLayout l;
        const std::uint64_t offered = leaf(0).eax;
        l.supported = offered & (xcr0::x87 | xcr0::sse);
        if (l.supported != (xcr0::x87 | xcr0::sse)) return {};
        for (const XsavePart& part : xsave_parts) {
            if ((offered >> part.bit & 1) == 0) continue;
            const auto r = leaf(part.bit);
            if (r.eax != part.size || r.ebx < xsave_header + xsave_header_bytes ||
                r.ebx + part.size > xsave_bytes)
                continue;
            l.supported |= 1ull << part.bit;
            l.offset[part.bit] = static_cast<std::uint16_t>(r.ebx);
        }
        if ((l.supported & xcr0::avx) == 0 || (l.supported & xcr0::avx512) != xcr0::avx512)
            l.supported &= ~xcr0::avx512;
        return l;
    }
};

}  // namespace margay

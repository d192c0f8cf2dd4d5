#include "ukernel/core/feature.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/guest_state.hpp"

namespace margay {

namespace {
Features found;
}

const Features& features() { return found; }
void set_tsc_khz(std::uint64_t khz) { found.tsc_khz = khz; }

void detect_features() {
    const std::uint32_t extended = cpu::cpuid(0x80000000).eax;
    const auto leaf7 = cpu::cpuid(7);
    found.pcid = cpu::cpuid(1).ecx >> 17 & 1;
    found.invpcid = leaf7.ebx >> 10 & 1;
    found.smep = leaf7.ebx >> 7 & 1;
    found.smap = leaf7.ebx >> 20 & 1;
    found.umip = leaf7.ecx >> 2 & 1;
    found.guest_cr4 = guest_state::supported_cr4(cpu::cpuid(1).ecx, leaf7.ebx, leaf7.ecx);
    constexpr std::uint32_t mce = 1 << 7, mca = 1 << 14;
    found.machine_check = (cpu::cpuid(1).edx & (mce | mca)) == (mce | mca);
    const auto hypervisor = cpu::cpuid(0x40000000);
    found.pae_unchecked = (cpu::cpuid(1).ecx >> 31) != 0 && hypervisor.ebx == 0x54474354 &&
                          hypervisor.ecx == 0x43544743 &&
                          hypervisor.edx == 0x47435447;  // "TCGTCGTCGTCG"
    found.injects_twice = found.pae_unchecked;
    const auto ext1 = cpu::cpuid(0x80000001);
    if ((ext1.edx >> 25 & 1) != 0) found.guest_efer |= cpu::efer::ffxsr;
    found.gigabyte_pages = ext1.edx >> 26 & 1;
    found.svm = ext1.ecx >> 2 & 1;
    found.tsc_aux = ext1.edx >> 27 & 1;
    if ((cpu::cpuid(1).ecx >> 26 & 1) != 0)
        found.xsave =
            XsaveLayout::detect([](unsigned subleaf) { return cpu::cpuid(0xd, subleaf); });
    if (extended >= 0x80000004) {
        for (std::uint32_t i = 0; i < 3; ++i) {
            const auto r = cpu::cpuid(0x80000002 + i);
            const std::uint32_t words[4] = {r.eax, r.ebx, r.ecx, r.edx};
            for (unsigned w = 0; w < 4; ++w)
                for (unsigned b = 0; b < 4; ++b)
                    found.name[i * 16 + w * 4 + b] = static_cast<char>(words[w] >> 8 * b);
        }
    }
    if (extended >= 0x80000007) found.constant_tsc = cpu::cpuid(0x80000007).edx >> 8 & 1;
    if (extended >= 0x80000008) found.physical_bits = cpu::cpuid(0x80000008).eax & 0xff;
    if (found.svm && extended >= 0x8000000a) {
        const auto r = cpu::cpuid(0x8000000a);
        found.asids = r.ebx;
        found.next_rip = r.edx >> 3 & 1;
        // Without nested paging Margay has no second-level address space.
        if ((r.edx & 1) == 0 || found.asids < 2) found.svm = false;
    }
}

}  // namespace margay

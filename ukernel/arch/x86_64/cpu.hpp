// Numbers of the processor's registers, and the instructions that reach them.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/instructions.hpp"

namespace margay::cpu {

namespace msr {
constexpr std::uint32_t apic_base = 0x1b;
constexpr std::uint32_t spec_ctrl = 0x48;
constexpr std::uint32_t pred_cmd = 0x49;
constexpr std::uint32_t arch_capabilities = 0x10a;
constexpr std::uint32_t efer = 0xc0000080;
constexpr std::uint32_t star = 0xc0000081;
constexpr std::uint32_t lstar = 0xc0000082;
constexpr std::uint32_t cstar = 0xc0000083;
constexpr std::uint32_t sfmask = 0xc0000084;
constexpr std::uint32_t fs_base = 0xc0000100;
constexpr std::uint32_t gs_base = 0xc0000101;
constexpr std::uint32_t kernel_gs_base = 0xc0000102;
constexpr std::uint32_t tsc_aux = 0xc0000103;
constexpr std::uint32_t vm_cr = 0xc0010114;
constexpr std::uint32_t vm_hsave_pa = 0xc0010117;
}  // namespace msr

namespace efer {
constexpr std::uint64_t sce = 1;
constexpr std::uint64_t lme = 1 << 8;
constexpr std::uint64_t lma = 1 << 10;
constexpr std::uint64_t nxe = 1 << 11;
constexpr std::uint64_t svme = 1 << 12;
constexpr std::uint64_t ffxsr = 1 << 14;
constexpr std::uint64_t aibrse = 1 << 21;
}  // namespace efer

namespace cr0 {
constexpr std::uint64_t pe = 1 << 0;
constexpr std::uint64_t mp = 1 << 1;
constexpr std::uint64_t em = 1 << 2;
constexpr std::uint64_t ts = 1 << 3;
constexpr std::uint64_t et = 1 << 4;
constexpr std::uint64_t wp = 1 << 16;
constexpr std::uint64_t am = 1 << 18;
constexpr std::uint64_t nw = 1 << 29;
constexpr std::uint64_t cd = 1 << 30;
constexpr std::uint64_t pg = 1ull << 31;
}  // namespace cr0

namespace cr4 {
constexpr std::uint64_t pae = 1 << 5;
constexpr std::uint64_t mce = 1 << 6;
constexpr std::uint64_t pge = 1 << 7;
constexpr std::uint64_t osfxsr = 1 << 9;
constexpr std::uint64_t umip = 1 << 11;
constexpr std::uint64_t la57 = 1 << 12;
constexpr std::uint64_t pcide = 1 << 17;
constexpr std::uint64_t osxsave = 1 << 18;
constexpr std::uint64_t smep = 1 << 20;
constexpr std::uint64_t smap = 1 << 21;
}  // namespace cr4

}  // namespace margay::cpu

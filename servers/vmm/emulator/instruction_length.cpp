#include "servers/vmm/emulator/instruction_length.hpp"

#include "servers/vmm/emulator/decoder.hpp"
#include "servers/vmm/emulator/instruction_fetch.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

/// 0: not one of the usual encodings. No prefixes here.
unsigned usual_length(const std::byte* bytes, unsigned count) {
    const auto at = [bytes](unsigned i) { return std::to_integer<unsigned>(bytes[i]); };
    if (count >= 1 && at(0) == 0xf4) {  // HLT
        return 1;
    }
    if (count < 2) {
        return 0;
    }
    if ((at(0) == 0xf3 && at(1) == 0x90) || at(0) == 0xcd) {  // PAUSE, INT n
        return 2;
    }
    if (at(0) != 0x0f) {
        return 0;
    }
    switch (at(1)) {
    case 0x06:  // CLTS
    case 0x08:  // INVD
    case 0x09:  // WBINVD
    case 0x30:  // WRMSR
    case 0x31:  // RDTSC
    case 0x32:  // RDMSR
    case 0x33:  // RDPMC
    case 0xa2:  // CPUID
        return 2;
    case 0x20:  // MOV from and to CRn, DRn
    case 0x21:
    case 0x22:
    case 0x23: return count >= 3 ? 3 : 0;
    case 0x01:
        if (count < 3) {
            return 0;
        }
        switch (at(2)) {
        case 0xc1:  // VMCALL
        case 0xc8:  // MONITOR
        case 0xc9:  // MWAIT
        case 0xd0:  // XGETBV
        case 0xd1:  // XSETBV
        case 0xd9:  // VMMCALL
        case 0xf9:  // RDTSCP
            return 3;
        default: return 0;
        }
    default: return 0;
    }
}

}  // namespace

unsigned decode_length(GuestMemory& memory, const VcpuState& s) noexcept {
    std::byte bytes[longest_instruction];
    const auto count = static_cast<unsigned>(read_guest_code(memory, s, bytes));
    if (const unsigned length = usual_length(bytes, count); length != 0) {
        return length;
    }
    Operation operation;
    return decode({bytes, count}, CpuMode::of(s).code, operation) == DecodeStatus::ok
               ? operation.length
               : 0U;
}

}  // namespace margay::vmm

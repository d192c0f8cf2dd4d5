// Code that differs from processor to processor is changed once, at start, so that a path pays nothing
// for what this one does not need. Pure but for the bytes that it writes.
#pragma once
#include <cstdint>
#include <cstring>

namespace margay::patch {

// JMP or CALL (0xe9, 0xe8) to `target`; the rest of the `length` bytes, 5 or more, is never reached or
// becomes NOPs.
inline void branch(std::uint8_t* site, std::uint8_t opcode, const void* target, unsigned length) {
    const auto distance = static_cast<std::int32_t>(reinterpret_cast<std::intptr_t>(target) -
                                                    reinterpret_cast<std::intptr_t>(site + 5));
    site[0] = opcode;
    std::memcpy(site + 1, &distance, sizeof(distance));
    for (unsigned i = 5; i < length; ++i) site[i] = 0x90;
}

// CLAC (3 bytes).
inline void clac(std::uint8_t* site) {
    constexpr std::uint8_t code[] = {0x0f, 0x01, 0xca};
    std::memcpy(site, code, sizeof(code));
}

// JMP *register (at most 3 bytes).
inline void indirect_jump(std::uint8_t* site, unsigned reg) {
    if (reg >= 8) *site++ = 0x41;
    site[0] = 0xff;
    site[1] = static_cast<std::uint8_t>(0xe0 | (reg & 7));
}

}  // namespace margay::patch

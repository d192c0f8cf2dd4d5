// Lines of JSON with a CRC on the second serial line (docs/manual/control-protocol.md): a blank and the CRC-32 (IEEE 802.3) of the
// object, as eight lower-case hexadecimal digits, follow the object. No JSON text ends that way.
#pragma once
#include <cstdint>
#include <string_view>

#include "proto/frame.hpp"

namespace margay {

enum class Seal : std::uint8_t { none, good, broken };

constexpr unsigned seal_bytes = 9;

constexpr char hex_digit(unsigned n) { return static_cast<char>(n < 10 ? '0' + n : 'a' + n - 10); }

// Takes the CRC off the line, if it has one.
constexpr Seal take_seal(std::string_view& line) {
    if (line.size() <= seal_bytes) return Seal::none;
    const std::string_view text = line.substr(0, line.size() - seal_bytes);
    const std::string_view seal = line.substr(text.size());
    if (text.back() != '}' || seal[0] != ' ') return Seal::none;
    bool same = true;
    const std::uint32_t crc = frame::crc_of(text);
    for (unsigned i = 1; i < seal_bytes; ++i) {
        const char c = seal[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return Seal::none;
        same &= c == hex_digit(crc >> 4 * (seal_bytes - 1 - i) & 15);
    }
    line = text;
    return same ? Seal::good : Seal::broken;
}

// Writes what follows the text, by bytes.
template <typename Write>
constexpr void write_seal(Write&& write, std::string_view text) {
    const std::uint32_t crc = frame::crc_of(text);
    write(' ');
    for (unsigned i = 1; i < seal_bytes; ++i)
        write(hex_digit(crc >> 4 * (seal_bytes - 1 - i) & 15));
}

}  // namespace margay

// Fields of tables that others made: at any offset, aligned or not.
#pragma once
#include <cstdint>
#include <cstring>

namespace margay {

// sizeof(T) bytes of the table, least significant first. The caller knows that they are there.
template <typename T>
T field(const std::uint8_t* table, unsigned offset) {
    T value;
    std::memcpy(&value, table + offset, sizeof(T));
    return value;
}

}  // namespace margay

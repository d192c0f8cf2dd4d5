// A page with its repeats left out. Packed bytes are a list of
//
//   n < 128    n + 1 bytes follow as they are
//   n >= 128   n - 124 bytes (4 to 131) are those that stand d bytes further in front; d, 16 bits, lowest byte first
#pragma once
#include <cstddef>
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay::init::saved {

// Packs a page. The length; 0: it would not get shorter than a page, and `to` is of no use.
unsigned pack(const std::byte* page, char (&to)[page_size]);
// False if the packed bytes are no page. Nothing beyond it is written, whatever they are.
bool unpack(const char* packed, std::size_t length, std::byte* page);

}  // namespace margay::init::saved

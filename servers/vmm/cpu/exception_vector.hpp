#pragma once

#include <cstdint>

/// Vectors of the exceptions that the VMM gives to its guest (AMD APM vol. 2 §8.2).
namespace margay::vmm::exception_vector {

constexpr std::uint8_t debug = 1;
constexpr std::uint8_t invalid_opcode = 6;
constexpr std::uint8_t stack_fault = 12;
constexpr std::uint8_t general_protection = 13;

}  // namespace margay::vmm::exception_vector

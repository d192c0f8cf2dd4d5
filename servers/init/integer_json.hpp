// RapidJSON's reader and writer in code that has no floating-point registers.
//
// The reader is asked to hand on numbers as text and the writer is given whole ones, so neither ever
// computes a real one; but their code for that is
// compiled all the same, and a double cannot be returned without SSE. While its headers are read,
// `double` is therefore a type that carries no value. Include this instead of RapidJSON's own headers.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace margay {

struct NoReal {
    std::uint64_t bits;
    NoReal() = default;
    template <typename T>
        requires std::is_arithmetic_v<T>
    constexpr NoReal(T) : bits{0} {}
    template <typename T>
        requires std::is_integral_v<T>
    explicit constexpr operator T() const { return 0; }
    friend constexpr NoReal operator+(NoReal, NoReal) { return {0}; }
    friend constexpr NoReal operator-(NoReal, NoReal) { return {0}; }
    friend constexpr NoReal operator*(NoReal, NoReal) { return {0}; }
    friend constexpr NoReal operator/(NoReal, NoReal) { return {0}; }
    constexpr NoReal& operator*=(NoReal) { return *this; }
    constexpr NoReal& operator+=(NoReal) { return *this; }
    constexpr NoReal operator-() const { return {0}; }
    friend constexpr bool operator<(NoReal, NoReal) { return false; }
    friend constexpr bool operator>(NoReal, NoReal) { return false; }
    friend constexpr bool operator<=(NoReal, NoReal) { return true; }
    friend constexpr bool operator>=(NoReal, NoReal) { return true; }
    friend constexpr bool operator==(NoReal, NoReal) { return true; }
};

}  // namespace margay

#define RAPIDJSON_ASSERT(x)                                                                        \
    do {                                                                                           \
        if (!(x)) __builtin_trap();                                                                \
    } while (false)
// There is no heap: whoever uses them gives them an allocator.
#define RAPIDJSON_NEW(x)    (__builtin_trap(), nullptr)
#define RAPIDJSON_DELETE(x) ((void)(x))
#define double ::margay::NoReal
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>
#include <rapidjson/writer.h>
#undef double

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

namespace margay::fuzz {

/// The fuzzer's bytes, taken from the front; zeros when there are no more.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : rest_{data, size} {}

    [[nodiscard]] bool empty() const { return rest_.empty(); }

    template <typename T>
    T take() {
        T value{};
        const auto bytes = take_bytes(sizeof(T));
        std::memcpy(&value, bytes.data(), bytes.size());
        return value;
    }
    std::span<const std::uint8_t> take_bytes(std::size_t count) {
        const auto taken = rest_.first(std::min(count, rest_.size()));
        rest_ = rest_.subspan(taken.size());
        return taken;
    }
    std::span<const std::uint8_t> take_rest() { return take_bytes(rest_.size()); }

  private:
    std::span<const std::uint8_t> rest_;
};

/// An assertion that is there in every build.
inline void require(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "violated: %s\n", what);
        std::abort();
    }
}

}  // namespace margay::fuzz

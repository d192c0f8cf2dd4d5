#pragma once

#include "support/format.hpp"

#include <cstddef>
#include <string_view>

namespace margay::vmm {

/// Why the device state of a VM cannot be taken over, as text for people. Empty: it can.
class Refusal {
  public:
    Refusal() = default;
    template <typename... Arguments>
    explicit Refusal(std::string_view format, const Arguments&... arguments) {
        print(
            [this](char c) {
                if (length_ < sizeof(text_)) {
                    text_[length_++] = c;
                }
            },
            format, arguments...);
    }

    [[nodiscard]] explicit operator bool() const noexcept { return length_ != 0; }
    [[nodiscard]] std::string_view text() const noexcept { return {text_, length_}; }

  private:
    char text_[103] = {};  // VmControl::reason without its zero
    std::size_t length_ = 0;
};

}  // namespace margay::vmm

// Frames for page tables that no hardware walks.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "support/address.hpp"

namespace margay {

struct TableFrames {
    std::uint64_t* table(HostPhys p) { return tables.at(p.value() / 4096 - 1).data(); }
    std::optional<HostPhys> allocate() {
        tables.emplace_back();
        return HostPhys{tables.size() * 4096};
    }
    void release(HostPhys) { ++released; }

    std::deque<std::array<std::uint64_t, 512>> tables;
    unsigned released = 0;
};

}  // namespace margay

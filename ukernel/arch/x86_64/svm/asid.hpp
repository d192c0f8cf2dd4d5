// Address space identifiers of one core (AMD APM vol. 2 §15.16). ASID 0 is the host's. When all are
// used, a new generation begins: everything is flushed once and every vCPU takes a new one.
#pragma once
#include <cstdint>

namespace margay {

struct AsidState {
    std::uint32_t next, limit, generation;
};

struct AsidGrant {
    std::uint32_t asid;
    bool flush_all;  // the TLB must be flushed with this entry
};

// What a vCPU that last ran with `asid` in `generation` must use now, and whether its translations
// must be flushed because its tables lost entries since (`stale_tables`).
inline AsidGrant grant_asid(AsidState& s, std::uint32_t asid, std::uint32_t generation,
                            bool stale_tables) {
    if (generation == s.generation && !stale_tables) return {asid, false};
    // A fresh ASID is as good as a flush of the old one, and cheaper.
    if (s.next < s.limit) return {s.next++, false};
    ++s.generation;
    s.next = 2;
    return {1, true};
}

}  // namespace margay

// The page-table pool of a Domain or Space: frames that its creator paid for.
#pragma once
#include <cstdint>
#include <optional>

#include "support/address.hpp"
#include "ukernel/memory/direct_map.hpp"

namespace margay {

class FramePool {
  public:
    // Frames of 4 KiB in [begin, end), both page-aligned.
    void fill(HostPhys begin, HostPhys end) {
        next_ = begin;
        end_ = end;
    }

    std::uint64_t* table(HostPhys p) const { return direct<std::uint64_t>(p); }

    // A zeroed frame.
    std::optional<HostPhys> allocate() {
        HostPhys frame;
        if (free_.value() != 0) {
            frame = free_;
            free_ = HostPhys{*table(frame)};
        } else if (next_ < end_) {
            frame = next_;
            next_ = next_ + 4096;
        } else {
            return std::nullopt;
        }
        std::uint64_t* words = table(frame);
        for (unsigned i = 0; i < 512; ++i) words[i] = 0;
        return frame;
    }

    // A table that was unlinked. It is not handed out before settle(): a TLB may still walk it.
    void release(HostPhys frame) {
        *table(frame) = limbo_.value();
        if (limbo_.value() == 0) limbo_last_ = frame;
        limbo_ = frame;
    }

    // After the TLB shootdown: released frames may be used again.
    void settle() {
        if (limbo_.value() == 0) return;
        *table(limbo_last_) = free_.value();
        free_ = limbo_;
        limbo_ = HostPhys{};
    }

  private:
    HostPhys next_, end_;  // never used yet
    HostPhys free_;        // list through the first word; 0 ends it
    HostPhys limbo_, limbo_last_;
};

}  // namespace margay

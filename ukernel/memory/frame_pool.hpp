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

    // A table that was unlinked. It is not handed out again: a TLB may still walk it.
    void release(HostPhys frame) {
        *table(frame) = limbo_.first.value();
        if (limbo_.first.value() == 0) limbo_.last = frame;
        limbo_.first = frame;
    }

    // Released frames, for whoever flushes the TLBs.
    struct Released {
        HostPhys first, last;  // list through the first word; 0: none
    };
    Released take_released() {
        const Released r = limbo_;
        limbo_ = {};
        return r;
    }
    // After the flush: they may be used again.
    void give_back(const Released& r) {
        if (r.first.value() == 0) return;
        *table(r.last) = free_.value();
        free_ = r.first;
    }

  private:
    HostPhys next_, end_;  // never used yet
    HostPhys free_;        // list through the first word; 0 ends it
    Released limbo_;
};

}  // namespace margay

// A small list of disjoint physical ranges: what is left of RAM after everything that is taken.
#pragma once
#include "support/address.hpp"

namespace margay {

struct Range {
    HostPhys begin, end;  // half-open
    std::uint64_t size() const { return end - begin; }
};

class RangeList {
  public:
    static constexpr unsigned capacity = 512;

    // False if there is no room; the range is lost then, which is safe.
    bool add(Range r) {
        if (r.begin >= r.end) return true;
        if (count_ == capacity) return false;
        ranges_[count_++] = r;
        return true;
    }
    // Takes [cut.begin, cut.end) out of every range.
    void remove(Range cut) {
        if (cut.begin >= cut.end) return;
        const unsigned before = count_;
        for (unsigned i = 0; i < before; ++i) {
            Range& r = ranges_[i];
            if (cut.end <= r.begin || r.end <= cut.begin) continue;
            const Range behind{cut.end, r.end};
            r.end = cut.begin > r.begin ? cut.begin : r.begin;
            add(behind);
        }
        unsigned kept = 0;
        for (unsigned i = 0; i < count_; ++i)
            if (ranges_[i].begin < ranges_[i].end) ranges_[kept++] = ranges_[i];
        count_ = kept;
    }
    const Range* begin() const { return ranges_; }
    const Range* end() const { return ranges_ + count_; }
    unsigned size() const { return count_; }

  private:
    Range ranges_[capacity];
    unsigned count_ = 0;
};

}  // namespace margay

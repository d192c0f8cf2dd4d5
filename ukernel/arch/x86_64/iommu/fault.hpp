// What an IOMMU has kept from happening, and which of it is told.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

struct Fault {
    enum class Kind : std::uint8_t {
        read,
        write,
        interrupt,
        bad_request,      // or the function is described wrongly
        bad_tables,       // the unit cannot read them
        does_not_forget,  // the function keeps translations that it was told to drop
        bad_command,      // nobody's: the unit refuses what the kernel told it
    };
    Kind kind;
    Requester requester;
    std::uint64_t address;  // where the function wanted to, or the message's number
};

// Which faults are told: of each function the first, the second, the fourth and so on, and only so many of all until somebody looks
// after devices again. A function that fails without end costs no more than that.
class FaultReports {
  public:
    static constexpr unsigned between = 64, taken_at_once = 4096;

    // Somebody gives devices or takes them. True: it had been silent.
    bool begin() {
        const bool was_silent = is_exhausted();
        left_ = between;
        taken_ = 0;
        return was_silent;
    }
    // One was taken from a log.
    void take() { ++taken_; }
    // Nothing more is told, or even taken, until begin().
    bool is_exhausted() const { return left_ == 0 || taken_ >= taken_at_once; }
    // How many of the function there were, this one with them; 0: it is not told.
    std::uint64_t tell(Requester r) {
        Count& c = counts_[r % functions];
        if (c.requester != r) c = {r, 0};
        const std::uint64_t n = ++c.faults;
        if (left_ == 0 || (n & (n - 1)) != 0) return 0;
        --left_;
        return n;
    }

  private:
    static constexpr unsigned functions = 64;
    struct Count {
        Requester requester = 0;
        std::uint64_t faults = 0;
    };
    Count counts_[functions];
    unsigned left_ = between;
    unsigned taken_ = 0;
};

}  // namespace margay::iommu

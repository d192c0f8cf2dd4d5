// A VM at rest, copied to a block of node memory: RAM, device state and vCPU.
#pragma once
#include "servers/init/guest.hpp"

namespace margay::init {

class Checkpoint {
  public:
    // The guest must be suspended, out of the guest, with no exit pending. On an error the one taken
    // before is gone.
    Status save(Node& node, const Guest& guest);
    // Into a guest that was just created with as much memory.
    Status restore(const Guest& guest) const;

    bool is_taken() const { return bytes_ != 0; }
    std::uint64_t bytes() const { return bytes_; }
    // TSC when it was taken.
    std::uint64_t taken_at() const { return taken_at_; }
    // Number of the last exit.
    std::uint64_t sequence() const { return sequence_; }

  private:
    Holdings holdings_;
    std::byte* block_ = nullptr;
    std::uint64_t bytes_ = 0, taken_at_ = 0, sequence_ = 0;
};

}  // namespace margay::init

// A VM at rest, copied to a block of node memory: RAM, device state and vCPUs. The copies go in pieces.
#pragma once
#include "proto/vmm.hpp"
#include "servers/init/failure.hpp"
#include "servers/init/guest.hpp"
#include "servers/init/life/vm_hands.hpp"
#include "servers/init/ram_window.hpp"

namespace margay::init {

class Checkpoint {
  public:
    // Of each vCPU, its device-state region and state page.
    static constexpr unsigned pages_before_ram(unsigned cpus) {
        return cpus * (device_state_bytes / page_size + 1);
    }
    // What one piece moves at most, in bytes: some tens of microseconds.
    static constexpr std::uint64_t piece_bytes = 256 << 10;

    // Begins to save: the guest must be suspended, out of the guest, with no exit pending. The one taken before
    // is gone, whatever comes of it.
    bool begin_save(Node& node, const Guest& guest, Failure& why);
    // Begins to restore into a guest that was just created.
    bool begin_restore(Node& node, const Guest& guest, Failure& why);
    // why: of a save for which there is no memory.
    Piece copy_piece(Failure& why);
    // After the last piece, or instead of further ones.
    void end();
    // A block that was filled elsewhere, pages_before_ram and the RAM; it is held by `holdings`, which are its own now.
    void adopt(const Holdings& holdings, std::byte* block, std::uint64_t bytes,
               std::uint64_t taken_at, std::uint64_t sequence, CpuFeatures features);
    // The block goes back.
    void drop();

    // Of what was taken: device-state region and state page of each vCPU, RAM.
    const std::byte* block() const { return block_; }
    bool is_taken() const { return bytes_ != 0; }
    std::uint64_t bytes() const { return bytes_; }
    // Of the copy that is under way, and what there is to copy.
    std::uint64_t done() const { return at_; }
    std::uint64_t total() const { return total_; }
    // TSC when it was taken.
    std::uint64_t taken_at() const { return taken_at_; }
    // The highest number of a last exit.
    std::uint64_t sequence() const { return sequence_; }
    // What its guest has seen of the processor; 0: nobody knows.
    CpuFeatures features() const { return features_; }

  private:
    Piece room_piece(Failure& why);

    Holdings holdings_;
    const Guest* guest_ = nullptr;  // that is being saved
    Ram room_;                      // the block's
    RamWindow ram_;
    std::byte* block_ = nullptr;
    std::uint64_t bytes_ = 0, taken_at_ = 0, sequence_ = 0;
    CpuFeatures features_ = 0;
    std::uint64_t at_ = 0, total_ = 0;  // of the RAM
    std::uint64_t ram_at_ = 0;          // in the block
    bool saves_ = false, has_room_ = false;
};

}  // namespace margay::init

// The pci server, and init's side of its board (proto/pci.hpp). It is started again when it dies; what it works on is init's.
// A node without its module, or whose server does not start, has no devices to give.
#pragma once
#include <optional>

#include "libipc/system_call.hpp"
#include "proto/pci.hpp"
#include "servers/init/firmware.hpp"
#include "servers/init/life/service_life.hpp"
#include "servers/init/life/service_watch.hpp"
#include "servers/init/node.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

class DeviceService {
  public:
    // Bits of init's Event: the server has died; something on the board is new.
    struct Bits {
        std::uint64_t died, told;
    };

    // Prepares what outlives each server, and begins to make the first one.
    void start(Node& node, const Firmware& firmware, Slot event, const Bits& bits);
    void look(std::uint64_t bits);
    std::uint64_t next_look() const;  // TSC; 0: at once
    // Goes on with making a server by one bounded piece.
    void do_piece();
    // For tests. False: there is none.
    bool kill();

    // Functions of the machine, once they are known.
    unsigned count() const;
    const PciFunction& function(unsigned index) const { return board_->function[index]; }
    // All that does not change as wishes are served.
    void copy(unsigned index, PciFunction& to) const;
    // Whose it is to be: see pci_wish; the holder only, if it is nobody's. Says so to the server.
    void wish(unsigned index, std::uint64_t what);
    // How its holder has it: those bits of pci_wish::adjustable, and no others.
    void adjust(unsigned index, std::uint64_t bits);
    // What it is to write when it interrupts by MSI.
    void set_message(unsigned index, const MessageAddress& message);
    std::uint16_t holder(unsigned index) const;
    // What came of the last wish; not set: nothing yet.
    std::optional<PciOutcome> outcome(unsigned index) const;
    bool is_there() const { return board_ != nullptr; }
    bool has_iommu() const { return node_->info().iommu != 0; }
    // Whether that confines their interrupts as well.
    bool remaps_interrupts() const { return node_->info().remaps_interrupts != 0; }
    // The first memory that firmware uses through the function; null: it does not.
    const BootFirmwareMemory* firmware_use(std::uint16_t requester) const;
    // What confines devices; empty: nothing does.
    const char* iommu_name() const {
        constexpr const char* names[] = {"", "AMD-Vi", "VT-d"};
        return names[node_->info().iommu];
    }
    unsigned deaths() const { return life_.deaths(); }

  private:
    Status prepare(const Firmware& firmware);
    Status add_window(const ConfigWindow& window);
    Status give(bool& done);
    Status load_piece(bool& done);
    void failed(const char* why, bool worked, bool killed);
    bool has_work() const;
    bool is_any_held() const;
    void forget();

    struct Window {
        Extent extent;
        unsigned first_bus = 0;
    };

    Node* node_ = nullptr;
    Slot event_ = no_slot;
    Bits bits_{};
    Extent board_memory_, book_;
    void* book_here_ = nullptr;
    PciBoard* board_ = nullptr;  // null: there are no devices to give
    Slot ports_ = no_slot, ring_ = no_slot;
    Window window_[Firmware::max_windows];
    unsigned windows_ = 0;

    std::optional<Program> program_;
    unsigned given_ = 0;
    std::uint64_t sequence_ = 0;  // of wishes
    ServiceLife life_;
    ServiceWatch watch_;
    std::uint32_t turns_ = 0;  // of the servers before this one
    bool killed_ = false, hung_ = false;
    const char* why_ = "";
};

}  // namespace margay::init

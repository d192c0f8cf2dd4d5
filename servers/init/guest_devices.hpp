// The PCI functions that a VM drives itself: claimed of the pci server, confined to the guest's memory, with their BARs and
// interrupt messages. They outlive the VM's VMMs, and go back still and reset before the guest's memory is anybody else's.
#pragma once
#include "proto/guest_function.hpp"
#include "servers/init/device_service.hpp"
#include "servers/init/failure.hpp"
#include "servers/init/function_windows.hpp"
#include "servers/init/guest.hpp"
#include "servers/init/life/vm_hands.hpp"

namespace margay::init {

class GuestDevices {
  public:
    // The next pieces claim what the configuration names. holder: of the VM, not 0.
    void begin(Node& node, DeviceService& service, const VmConfig& config, std::uint16_t holder);
    // The guest is there, and does not run yet.
    Piece create_piece(const Guest& guest, Failure& why);
    // They are made still and reset; then nothing of the guest's is in their reach, and nothing is held. Does not fail: see
    // keeps_memory().
    Piece release_piece();
    // The last release left a function that does not come to rest: it, and the guest's memory, are nobody's any more.
    bool keeps_memory() const { return keeps_memory_; }

    // What the VMM of `guest` wants of them, and what has come of that. requests: the Event that recalls vCPU 0.
    void look(const Guest& guest, Slot requests);

    // For a VMM's start-up block. count() is 0 until they are complete.
    unsigned count() const { return step_ == Step::complete ? count_ : 0; }
    const Extent& page() const { return page_; }
    unsigned messages() const { return messages_; }
    Slot message(unsigned number) const { return irq_[number]; }
    unsigned lines() const { return lines_; }
    Slot line(unsigned number) const { return line_[number].irq; }
    const GuestFunctions& description() const { return *description_; }
    // Of FunctionPart i.
    const Extent& part(unsigned i) const { return part_[i]; }

    // TSC: look() has more to do then.
    std::uint64_t next_look() const { return moves_wait_ ? next_move_ : no_deadline; }

  private:
    enum class Step : std::uint8_t {
        none,
        choose,
        claim,  // and wait for what comes of it
        page,
        space,
        mapping,
        function,  // one after the other
        messages,  // likewise
        lines,
        complete,
        back,  // and wait until they are still
        kept,
    };
    struct Claimed {
        unsigned index = 0;  // on the board
        Slot device = no_slot;
        bool is_attached = false;
        std::uint64_t asked = 0;  // what the VMM wanted last: see function_wish
    };

    // What the server has said of them when they were chosen: it can write other things onto the board at any time.
    PciFunction real_[max_guest_functions] = {};

    struct IrqLine {
        unsigned gsi = 0;
        Slot irq = no_slot;
    };

    std::uint64_t next_move_ = 0;  // TSC: no message is moved before
    unsigned next_message_ = 0;    // to be looked at first
    bool moves_wait_ = false;

    bool choose(Failure& why);
    bool place_bars(Failure& why);
    unsigned choose_one(const DeviceChoice& choice, Failure& why) const;
    void refuse_firmwares(const PciFunction& f, Failure& why) const;
    bool is_chosen(unsigned index) const;
    std::uint64_t wish() const;
    Piece await_claims(Failure& why);
    void explain(const PciFunction& f, PciOutcome outcome, Failure& why) const;
    Status create_page();
    Status create_space(const Guest& guest);
    Status map_piece(const Guest& guest, bool& done);
    Status create_function(unsigned i, const char*& what);
    Status create_parts(unsigned i);
    Status add_part(unsigned i, unsigned bar, std::uint64_t offset, std::uint64_t size,
                    bool is_trapped);
    unsigned irqs_of(unsigned i) const;
    void share_messages();
    Status create_messages(const Guest& guest, bool& done);
    Status set_first_message(unsigned i);
    Status create_lines(const Guest& guest);
    std::uint64_t board_bits(unsigned i, std::uint64_t wanted) const;
    void direct_messages(const Guest& guest);
    Piece await_rest();
    void give_back();

    Node* node_ = nullptr;
    DeviceService* service_ = nullptr;
    const VmConfig* config_ = nullptr;
    std::uint16_t holder_ = 0;
    Step step_ = Step::none;
    Claimed claimed_[max_guest_functions];
    unsigned count_ = 0, next_ = 0;
    bool keeps_memory_ = false;
    std::uint64_t mapped_ = 0;  // bytes of the guest's RAM
    FunctionWindows windows_;

    Holdings holdings_;
    Extent page_, message_storage_;
    GuestFunctions* description_ = nullptr;  // the page, mapped here
    Slot space_ = no_slot;
    // Derived from the machine's device memory; each is emptied and given back by hand.
    Extent part_[max_function_parts];
    Slot irq_[max_guest_messages], irq_storage_[max_guest_messages];
    std::uint8_t message_cpu_[max_guest_messages];  // the vCPU that each comes to
    IrqLine line_[max_guest_functions];
    unsigned parts_ = 0, messages_ = 0, lines_ = 0;
};

}  // namespace margay::init

// A VM of the real kernel whose exits are handled by the real VMM: open_machine() and Machine::handle, called
// as functions. What outlives a VMM is in one piece of memory that is shared with child processes, so that a
// VMM in a child can be cut off anywhere and its successor looked at.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "servers/vmm/open.hpp"
#include "tests/host_node/guest.hpp"
#include "tests/unit/kernel/system.hpp"

namespace margay::host_node::kill {

// All that a successor finds, but for guest RAM.
struct Remains {
    vmm::Region region;
    alignas(page_size) VmControl control;
    alignas(page_size) ConsoleChannel console;
    alignas(page_size) ConsoleChannel log;
    alignas(page_size) VcpuState state;
};
static_assert(sizeof(Remains) % page_size == 0);

constexpr std::uint64_t ram_bytes = 4 << 20;

// The remains and the pages of RAM that matter, as they were once.
struct Copy {
    std::vector<std::byte> remains;
    std::vector<std::byte> pages;
};

class Stage {
  public:
    // In the place of a text: the power button is pressed.
    static constexpr std::string_view power_button = "(power button)";
    // Likewise: message 0 of its PCI functions comes.
    static constexpr std::string_view message = "(message)";

    // typed: one after the other, whenever the guest sleeps for good.
    // functions: null: the guest drives none. A function becomes as it is wanted whenever the guest sleeps.
    Stage(const GuestScript& guest, std::vector<std::string> typed,
          const GuestFunctions* functions = nullptr);

    Remains& remains() { return *remains_; }
    std::span<std::byte> ram() { return ram_; }

    // Up to the next exit, which waits for its reply then. False: the guest has ended.
    bool next_exit();
    vmm::Exit exit(bool replayed) const;
    // The reply to that exit.
    void reply(const vmm::Reply& reply);

    // As the kernel sends an exit to the next handler.
    void send_again();
    // What the console may do at any time: overwrite what was given up to it.
    void use_free_input();

    // Pages of RAM that copies and comparisons have; from the difference to `before`.
    void watch_changes(std::span<const std::byte> before);
    Copy copy() const;
    void set(const Copy& copy);
    bool is(const Copy& copy) const;
    unsigned exits(ExitClass c) const { return exits_[static_cast<unsigned>(c)]; }

  private:
    void take(Context* entered);
    bool grant();

    System system_;
    const GuestScript& guest_;
    std::vector<std::string> typed_;
    std::size_t typed_next_ = 0;
    Remains* remains_;
    std::span<std::byte> ram_;
    std::vector<std::byte> image_;
    Vcpu* vcpu_;
    Thread* handler_;
    Context* entered_ = nullptr;
    std::vector<std::size_t> watched_;
    unsigned exits_[exit_classes] = {};
};

}  // namespace margay::host_node::kill

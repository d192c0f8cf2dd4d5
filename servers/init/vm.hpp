// A virtual machine as its supervisor sees it: everything that must outlive its VMM is here.
#pragma once
#include "proto/console.hpp"
#include "proto/vm_control.hpp"
#include "servers/init/manifest.hpp"
#include "servers/init/node.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

// A console channel: memory, and the bit that rings for it.
struct Channel {
    Extent memory;
    ConsoleChannel* here = nullptr;
    std::uint64_t bit = 0;
};

class Vm {
  public:
    // Creates memory, Space, Vcpu, Portal and VMM, and starts them. On failure why() tells.
    // node_event with the bits: signalled when the vCPU stops or the VMM dies.
    Status create(Node& node, const VmConfig& config, const Channel& terminal, const Channel& log,
                  Slot console_event, Slot node_event, std::uint64_t bit, Slot guest_event);

    const VmConfig& config() const { return *config_; }
    const char* why() const { return why_; }
    const VmControl& control() const { return *control_; }
    bool is_running() const { return running_; }
    void set_stopped() { running_ = false; }

  private:
    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status create_guest(Node& node, Slot node_event, std::uint64_t bit, Slot guest_event);
    Status map_guest_ram();
    Status give(Node& node, Program& vmm, const Channel& terminal, const Channel& log,
                Slot console_event);
    Status give_module(Node& node, Program& vmm, std::string_view item, const char* module,
                       std::uint64_t address);

    const VmConfig* config_ = nullptr;
    const char* why_ = "";
    bool running_ = false;
    Extent ram_, state_page_, devices_, control_page_, append_;
    VmControl* control_ = nullptr;
    Slot space_ = no_slot, vcpu_ = no_slot, portal_ = no_slot;
};

}  // namespace margay::init

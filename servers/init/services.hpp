// The node's services: pmem and console, and init's connections to them.
#pragma once
#include "servers/init/manifest.hpp"
#include "servers/init/node.hpp"
#include "servers/init/program.hpp"
#include "servers/init/vm.hpp"

namespace margay::init {

class Services {
  public:
    // Starts pmem with all free RAM. Failures end init: without memory nothing goes on.
    void start_memory(Node& node);
    // Starts the console with channels for init, pmem and every VM of the manifest.
    void start_console(Node& node, const Manifest& manifest, std::uint64_t death_bit);
    // Waits until everything that was said is on the serial line, or a second has passed.
    void drain();

    Slot pmem() const { return pmem_; }
    Slot console_event() const { return console_event_; }
    Slot node_event() const { return node_event_; }
    Slot guest_event(unsigned vm) const { return guest_events_[vm]; }
    const Channel& terminal(unsigned vm) const { return terminals_[vm]; }
    const Channel& vmm_log(unsigned vm) const { return vmm_logs_[vm]; }

  private:
    Channel make_channel(Node& node);

    std::uint64_t tsc_khz_ = 0;
    Slot pmem_ = no_slot, console_event_ = no_slot, node_event_ = no_slot;
    Channel init_log_;
    Channel terminals_[max_vms], vmm_logs_[max_vms];
    Slot guest_events_[max_vms];
    ConsoleChannel* channels_[max_channels];
    unsigned channel_count_ = 0;
};

}  // namespace margay::init

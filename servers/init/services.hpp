// The node's services: pmem and console, and init's connections to them.
#pragma once
#include "servers/init/manifest.hpp"
#include "servers/init/node.hpp"
#include "servers/init/program.hpp"
#include "servers/init/vm.hpp"

namespace margay::init {

// Bits of init's Event: something was typed on the node console or received on the second serial
// line, or the console has taken all that was put there.
namespace node_bit {
constexpr std::uint64_t terminal = 1ull << 32;
constexpr std::uint64_t control_line = 1ull << 33;
// The console has let go of channels: Services::channels().collect().
constexpr std::uint64_t channels = 1ull << 35;
}  // namespace node_bit

class Services {
  public:
    // Starts pmem with all free RAM. Failures end init: without memory nothing goes on.
    void start_memory(Node& node);
    // Starts the console with channels for init and for the second serial line.
    void start_console(Node& node, std::uint64_t death_bit);
    // The node console's channel. Behind those of the manifest's VMs: it is shown from the start only if no VM is.
    void open_node_terminal();
    // Waits until everything that was said is on the serial line, or a second has passed.
    void drain();
    // To add and remove channels while the node runs.
    ConsoleChannels& channels() { return channels_; }

    Slot pmem() const { return pmem_; }
    // Bytes of RAM that pmem was not given, because there are too many ranges.
    std::uint64_t unused_ram() const { return unused_ram_; }
    Slot console_event() const { return console_event_; }
    Slot node_event() const { return node_event_; }
    // The node console's own terminal, and the second serial line (node_bit).
    const Channel& node_terminal() const { return node_terminal_; }
    const Channel& control_line() const { return control_line_; }

  private:
    void start_clearing(Node& node, Slot portal, Slot dirty, Slot done);
    Channel make_channel(const ChannelOptions& options);

    std::uint64_t tsc_khz_ = 0, unused_ram_ = 0;
    Slot pmem_ = no_slot, console_event_ = no_slot, node_event_ = no_slot;
    Channel init_log_, node_terminal_, control_line_;
    ConsoleChannels channels_;
};

}  // namespace margay::init

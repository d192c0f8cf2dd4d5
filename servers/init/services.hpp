// The node's services: pmem, console and pci, and init's connections to them.
#pragma once
#include "servers/init/console_process.hpp"
#include "servers/init/device_service.hpp"
#include "servers/init/life/service_life.hpp"
#include "servers/init/life/service_watch.hpp"
#include "servers/init/manifest.hpp"
#include "servers/init/memory_service.hpp"
#include "servers/init/node.hpp"
#include "servers/init/program.hpp"
#include "servers/init/test_killer.hpp"
#include "servers/init/vm.hpp"

namespace margay::init {

// Bits of init's Event: something was typed on the node console or received on the second serial
// line, or the console has taken all that was put there.
namespace node_bit {
constexpr std::uint64_t terminal = 1ull << 32;
constexpr std::uint64_t control_line = 1ull << 33;
// The console has let go of channels: Services::channels().collect().
constexpr std::uint64_t channels = 1ull << 35;
// The end of a service's thread: Services::look().
constexpr std::uint64_t console_died = 1ull << 34;
constexpr std::uint64_t pmem_died = 1ull << 36;
constexpr std::uint64_t clearer_died = 1ull << 37;
// A piece of memory has been cleared.
constexpr std::uint64_t cleared = 1ull << 38;
constexpr std::uint64_t pci_died = 1ull << 39;
// Something has become of a device.
constexpr std::uint64_t pci_told = 1ull << 40;
// Those that Services::look() wants to see.
constexpr std::uint64_t services =
    console_died | pmem_died | clearer_died | cleared | pci_died | pci_told;
}  // namespace node_bit

class Services {
  public:
    // Starts pmem with all free RAM. Failures end init: without memory nothing goes on.
    void start_memory(Node& node);
    // Starts the console with channels for init and for the second serial line.
    void start_console(Node& node);
    // Begins to start the pci server, if the node has one.
    void start_devices(Node& node, const Firmware& firmware);
    // For tests: kills services after so many microseconds on average, again and again; 0: never.
    void kill_for_test(std::uint64_t microseconds);
    // Finds out what has happened to them. bits: what was signalled.
    void look(std::uint64_t bits);
    // When to look again or to go on with a restart, TSC; 0: at once.
    std::uint64_t next_look() const;
    // Goes on with a restart by one bounded piece.
    void do_piece();
    unsigned console_deaths() const { return console_life_.deaths(); }
    unsigned pmem_deaths() const { return memory_.deaths(); }
    // The node console's channel. Behind those of the manifest's VMs: it is shown from the start only if no VM is.
    void open_node_terminal();
    // Waits until everything that was said is on the serial line, or a second has passed.
    bool drain();
    // To add and remove channels while the node runs.
    ConsoleChannels& channels() { return channels_; }

    MemoryService& memory() { return memory_; }
    DeviceService& devices() { return devices_; }
    Slot console_event() const { return console_event_; }
    Slot node_event() const { return node_event_; }
    // The node console's own terminal, and the second serial line (node_bit).
    const Channel& node_terminal() const { return node_terminal_; }
    const Channel& control_line() const { return control_line_; }

  private:
    Channel make_channel(const ChannelOptions& options);
    bool load_console();
    void console_failed(const char* why, bool worked, bool killed);
    void watch_console(std::uint64_t now);
    void kill_next();

    std::uint64_t tsc_khz_ = 0;
    Slot console_event_ = no_slot, node_event_ = no_slot;
    MemoryService memory_;
    DeviceService devices_;
    Channel init_log_, node_terminal_, control_line_;
    ConsoleChannels channels_;
    ConsoleProcess console_;
    ServiceLife console_life_;
    ServiceWatch console_watch_;
    std::uint32_t turns_ = 0;  // of the consoles before this one
    TestKiller killer_;
    bool killed_ = false, hung_ = false;
    unsigned victim_ = 0;  // of the killer, the next one
};

}  // namespace margay::init

// One VMM: a program that serves one VM, and may be replaced by another one.
#pragma once
#include <optional>

#include "servers/init/console_channels.hpp"
#include "servers/init/guest_devices.hpp"
#include "servers/init/program.hpp"
#include "servers/init/row.hpp"

namespace margay::init {

// How a VM and its VMMs reach the rest of the node.
struct Connections {
    Channel terminal, log;
    Slot console_event = no_slot;  // rings the console
    Slot node_event = no_slot;     // init's own
    Slot requests = no_slot;       // recalls the vCPU
    std::uint64_t bit = 0;         // of the node's Event: something happened to this VM
    DeviceService* devices = nullptr;
    std::uint16_t holder = 0;  // its number among holders of devices
};

// What a VMM is told about the VM when it starts.
struct VmmStart {
    std::uint64_t epoch = 0;     // seconds since 1970 when the guest was started
    std::uint64_t restarts = 0;  // of VMMs before it
    std::uint64_t restored = 0;  // TSC when the VM was saved, 0 if it was not restored
    std::uint64_t resumed = 0;   // TSC when it went on then
};

class VmmProcess {
  public:
    // What it is loaded from must stay.
    void begin(Node& node, const VmConfig& config, const char* module, const Guest& guest,
               const GuestDevices& devices, const Connections& to);
    // Goes on with loading it and with giving it the guest's capabilities, by one bounded piece; it does not
    // run. done: when nothing is left. On failure why() tells, and release() is due.
    Status load_piece(bool& done);
    // Lets it answer the guest's exits, from the one that waits on.
    Status serve(const Guest& guest, const VmmStart& start);
    // It serves: its threads on further cores do as well from now on.
    void serve_further();
    // Every exit goes to it.
    Status bind(const Guest& guest);
    void kill();
    // It was started, and one of its threads has ended. If so, all of them end.
    bool is_dead();
    // Of the one that ended by a fault of its own: the leader of the vCPUs whose exits it had (Guest::leader); else none.
    // It must be dead.
    std::optional<unsigned> faulted() const;
    // The one that ended, or the first.
    Slot thread_of_interest() const { return ended_ != no_slot ? ended_ : program_->thread(); }
    void release();
    // The same by one bounded piece. True: nothing is left.
    bool release_piece();

    bool is_loaded() const { return program_.has_value(); }
    const char* module() const { return module_; }
    const Program& program() const { return *program_; }
    const char* why() const { return why_; }

  private:
    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status give(bool& done);
    Status give_module(std::string_view item, const char* module, std::uint64_t address);

    std::optional<Program> program_;
    Node* node_ = nullptr;
    const VmConfig* config_ = nullptr;
    const Guest* guest_ = nullptr;
    const GuestDevices* devices_ = nullptr;
    const Connections* to_ = nullptr;
    char module_[max_name] = {};
    // A thread on a core that vCPU 0 is not on.
    struct FurtherThread {
        unsigned number = 0;  // of the first vCPU there
        Slot thread = no_slot;
        bool is_started = false;
        Holdings holdings;
    };
    Status give_cpu(unsigned number);
    Status give_devices();
    Slot thread_for(unsigned number) const;

    unsigned given_ = 0;
    Row<FurtherThread>
        further_;  // as many as there are further vCPUs; those with a number are there
    Slot ended_ = no_slot;
    bool is_started_ = false;
    const char* why_ = "";
};

}  // namespace margay::init

// One VMM: a program that serves one VM, and may be replaced by another one.
#pragma once
#include <optional>

#include "proto/console.hpp"
#include "servers/init/guest.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

// A console channel: memory, and the bit that rings for it.
struct Channel {
    Extent memory;
    ConsoleChannel* here = nullptr;
    std::uint64_t bit = 0;
};

// How a VM and its VMMs reach the rest of the node.
struct Connections {
    Channel terminal, log;
    Slot console_event = no_slot;  // rings the console
    Slot node_event = no_slot;     // init's own
    Slot requests = no_slot;       // recalls the vCPU
};

class VmmProcess {
  public:
    // Loads it and gives it the guest's capabilities; it does not run. On failure why() tells, and
    // release() is due. deaths, news: bits of the node's Event for its end and for its own signals.
    // restored: TSC when the VM was saved, 0 if it was not restored.
    Status load(Node& node, const VmConfig& config, const char* module, const Guest& guest,
                const Connections& to, std::uint64_t deaths, std::uint64_t news,
                std::uint64_t epoch, std::uint64_t restarts, std::uint64_t restored);
    // Lets it answer the guest's exits, from the one that waits on.
    Status serve(const Guest& guest);
    Status kill() { return thread_ctl(program_->thread(), ThreadOp::kill); }
    void release();

    bool is_loaded() const { return program_.has_value(); }
    const Program& program() const { return *program_; }
    const char* module() const { return module_; }
    const char* why() const { return why_; }

  private:
    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status give(const VmConfig& config, const Guest& guest, const Connections& to);
    Status give_module(std::string_view item, const char* module, std::uint64_t address);

    std::optional<Program> program_;
    Node* node_ = nullptr;
    char module_[max_name] = {};
    const char* why_ = "";
};

}  // namespace margay::init

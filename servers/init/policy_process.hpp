// One policy server on one VM: a program with a thread on each core that has vCPUs of the VM, and a portal for each of
// them. What it is given: proto/policy.hpp.
#pragma once
#include <optional>

#include "proto/policy.hpp"
#include "servers/init/console_channels.hpp"
#include "servers/init/guest.hpp"
#include "servers/init/policy_spec.hpp"
#include "servers/init/program.hpp"
#include "servers/init/row.hpp"

namespace margay::init {

// How it reaches the rest of the node.
struct PolicyConnections {
    Channel log;
    Slot console_event = no_slot;
    Slot node_event = no_slot;
    std::uint64_t bit = 0;  // of the node's Event: something happened to it
};

class PolicyProcess {
  public:
    // What it is loaded from, and the guest, must stay.
    void begin(Node& node, const PolicySpec& spec, const char* vm, const Guest& guest,
               const PolicyConnections& to);
    // One bounded piece of loading it; it does not run. done: when nothing is left. On failure why() tells, and
    // release_piece() is due.
    Status load_piece(bool& done);
    Status start();
    // It is ready: its further threads take exits as well.
    Status start_further();
    // Exits of the spec's classes go to it first from now on, on one vCPU more. done: on all.
    Status bind_piece(bool& done);
    // None of its threads runs on, and its exits go to the base; the rows are free when it is released.
    void end();
    bool is_dead() const;
    // True: nothing is left.
    bool release_piece();

    bool is_there() const { return program_.has_value(); }
    // Null: there is none yet. It writes there as well.
    const PolicyPage* page() const { return page_; }
    const char* why() const { return why_; }

  private:
    struct Cpu {
        Holdings holdings;
        bool is_used = false;
        bool is_started = false;  // the thread, which is its own
        Slot portal = no_slot;    // with the vCPU's number as badge
        Slot thread = no_slot;    // the one that serves it
    };
    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status give(bool& done);
    Status give_pages();
    Status give_cpu(unsigned number);

    Node* node_ = nullptr;
    const PolicySpec* spec_ = nullptr;
    const Guest* guest_ = nullptr;
    const PolicyConnections* to_ = nullptr;
    std::optional<Program> program_;
    PolicyPage* page_ = nullptr;
    Row<Cpu> cpus_;
    unsigned given_ = 0;
    unsigned bound_ = 0;  // vCPUs
    const char* why_ = "";
};

}  // namespace margay::init

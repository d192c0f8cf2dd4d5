// A whole node: the kernel's boot code starts the real init, which starts the real servers from boot modules
// and runs the VMs of a manifest.
#pragma once
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/host_node/cores.hpp"
#include "tests/host_node/guest.hpp"
#include "tests/host_node/serial_line.hpp"

namespace margay::host_node {

struct NodeOptions {
    std::string manifest;
    std::map<std::string, const GuestScript*> guests;  // boot modules, by name
    std::map<std::string, std::string> vmms = {
        {"vmm", "vmm"}};  // boot modules, each a VMM: its build
    std::uint64_t ram = 64 << 20;
    std::uint64_t tsc_khz = 1'000'000;
    std::int64_t clock = 1'795'694'400;  // Unix time that the clock shows: 2026-11-26, 12:00
};

// What a VMM is about to do with an exit, and what is to become of it. Asked of whoever tests.
struct VmmMoment {
    std::string_view vm;
    std::uint64_t sequence;
    bool replayed;
    bool after;  // it was handled, and the reply is due
};
// What it has made of it.
struct VmmAnswer {
    std::uint64_t exit_class, flags, sequence, rip, detail0, detail1, rax, rflags;
    std::uint64_t action, dirty, result, vector, deadline;
};
enum class VmmFate { go_on, die, hang };
// The VMM that runs dies when it has executed so many basic blocks more; 0: it does not.
std::uint64_t& blocks_left();

class Node {
  public:
    explicit Node(const NodeOptions& options);
    ~Node();

    // Until the node is off; false if it never is, or not in so many rounds.
    bool run(std::uint64_t rounds = 20'000'000);
    bool run_until(const std::function<bool()>& done, std::uint64_t rounds = 20'000'000);
    bool is_off() const { return exit_code_ >= 0; }
    // No VM and no server has failed.
    bool ended_well() const { return exit_code_ == 0x10; }

    // The terminal that is shown, the node's control line, lines of servers.
    SerialLine terminal, control, logs;

    // A request by the control line. The answer, which has come when this returns.
    std::string command(std::string_view json);
    // Puts a module of zeros; whether the node has taken it.
    bool put_module(const std::string& name, std::size_t bytes);

    // Asked around each exit that a VMM handles. Not set: it goes on.
    std::function<VmmFate(const VmmMoment&)> fate;
    // Told of each answer, before it is given and before `fate` is asked.
    std::function<void(const VmmAnswer&)> answered;
    // How long a piece of a guest's file takes, in ticks, where the VMM is the build `vmm_slow`.
    std::uint64_t placing = 0;
    // To be called at each basic block of init, pmem and the console.
    void on_block(std::function<void()> disturb);

  private:
    std::uint64_t ram_;  // first: before the cores, the machine is made anew

  public:
    Cores cores;

  private:
    const GuestScript& script_of(const Vcpu& v);
    void boot(const NodeOptions& options);
    std::uint32_t port_read(std::uint16_t port, unsigned width);
    void port_write(std::uint16_t port, unsigned width, std::uint32_t value);

    std::map<std::string, const GuestScript*> guests_;
    std::function<void()> on_block_;
    int exit_code_ = -1;
    std::uint8_t date_[12] = {};  // as the clock's registers
    std::uint8_t clock_index_ = 0;
    std::size_t answers_ = 0;  // bytes of the control line that were taken
};

}  // namespace margay::host_node

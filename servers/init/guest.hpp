// What of a virtual machine outlives its VMMs: memory, address space, vCPUs, exit portals, device state.
#pragma once
#include "proto/vcpu_state.hpp"
#include "proto/vm_control.hpp"
#include "servers/init/holdings.hpp"
#include "servers/init/manifest.hpp"
#include "servers/init/row.hpp"
#include "support/cpu_features.hpp"

namespace margay::init {

// vCPUs and their VMM give way to pmem, init and the console.
constexpr unsigned vm_priority = 16;

// One of its vCPUs.
struct GuestCpu {
    unsigned core = 0;  // of the node
    Extent state_page, devices;
    Slot vcpu = no_slot;
    Slot event = no_slot;         // its signals reach the vCPU as recall
    Slot portal = no_slot;        // its exits go there
    VcpuState* state = nullptr;   // the state page, mapped here
    std::byte* region = nullptr;  // the device-state region, likewise
    std::uint64_t last_pending =
        0;  // the exit that waited when it was looked at last, and since when (TSC)
    std::uint64_t pending_since = 0;
};

struct FurtherCpu : GuestCpu {
    Holdings holdings;
};

// A stretch of a guest's RAM that is one in its address space as well, and can be mapped in one piece of work.
struct RamPiece {
    std::uint64_t at, size;  // guest-physical; bytes
};
// The one that begins at byte `offset` of the RAM.
RamPiece next_piece(const Ram& ram, std::uint64_t offset);

// Of an address space for a guest's RAM, with pages of 2 MiB.
constexpr std::uint64_t bytes_per_table = 1 << 30;
constexpr std::uint64_t bytes_per_mapping = max_map_leaves / 2 * large_page;

struct Guest {
    // Begins to create everything; nothing runs. The configuration stays. death: bits of `event` for the end of
    // a vCPU; requests: the Event whose signals reach vCPU 0 as recall.
    void begin(Node& node, const VmConfig& config, Slot event, std::uint64_t death, Slot requests);
    // One bounded piece of it. done: when nothing is left. On failure `why` tells, and it must be released.
    Status create_piece(bool& done);
    // Each begins with the startup exit, numbered `sequence` + 1.
    Status start(std::uint64_t sequence);
    // Everything goes back. No VMM may be left.
    void release();
    // The same by one bounded piece. True: nothing is left.
    bool release_piece();
    // Everything stays as it is, for good: something that cannot be stopped may still use it.
    void abandon();

    Status fail_with(const char* reason, Status s) {
        why = reason;
        return s;
    }
    // As fail_with, where memory is lacking; and how much there is.
    Status fail_without_memory(const char* what, Status s);
    Status find_room();
    Status create_ram(bool& done);
    Status create_space();
    Status map_piece(bool& done);
    // number: of the vCPU among the VM's; from: what it is made of is theirs.
    Status create_cpu(GuestCpu& cpu, unsigned number, Holdings& from);
    Status create_portal(GuestCpu& cpu, unsigned number, Holdings& from);
    Status create_row();
    Status create_further(unsigned number);
    Status create_shared();

    unsigned cpus() const { return 1 + further.size(); }
    GuestCpu& cpu(unsigned number) { return number == 0 ? first : further[number - 1]; }
    const GuestCpu& cpu(unsigned number) const { return number == 0 ? first : further[number - 1]; }
    template <typename F>
    void each_cpu(F f) {
        for (unsigned i = 0; i < cpus(); ++i) f(cpu(i));
    }
    // The vCPU with the lowest number on the same core: a VMM's thread there has that number.
    unsigned leader(unsigned number) const;
    // Bit i: another vCPU is on the core of number i.
    std::uint64_t sharing() const;

    // What comes next.
    enum class Step : std::uint8_t { room, ram, space, mapping, first_cpu, shared, row, further };
    Step step = Step::room;
    const VmConfig* config = nullptr;
    Slot event = no_slot;
    std::uint64_t death = 0;
    std::uint64_t mapped = 0;  // bytes of RAM
    unsigned created = 0;      // vCPUs

    Holdings holdings;
    Ram ram;
    Extent control_page, texts;
    Slot space = no_slot;
    GuestCpu first;
    Row<FurtherCpu> further;
    VmControl* control = nullptr;  // its page, mapped here
    CpuFeatures features = 0;      // that it sees or has seen
    bool needs_files = true;       // kernel and initrd are not in its RAM yet
    const char* why = "";
    char why_text[120] = {};
};

}  // namespace margay::init

// What a VM's life asks of the node, and what it sees of the VM. Nothing here waits, and nothing takes
// longer than a bounded piece of work.
#pragma once
#include <string_view>

#include "proto/vm_control.hpp"
#include "servers/init/failure.hpp"

namespace margay::init {

// A VM at one moment.
struct VmSample {
    std::uint64_t now = 0;                   // ticks
    bool guest_dead = false;                 // one of its vCPUs has ended
    VmOutcome outcome = VmOutcome::running;  // as its VMM says
    // Of several vCPUs the one whose exit has waited longest, among those that a thread of the VMM had which faulted; the
    // next three are of it.
    unsigned cpu = 0;
    unsigned suspects = 1;                // among how many
    std::uint64_t sequence = 0;           // number of its last exit
    bool pending = false;                 // that exit waits for its answer
    bool in_service = false;              // a VMM has an exit of any
    bool at_rest = false;                 // all are suspended, out of the guest, no exit waits
    std::uint64_t waited = 0;             // see WatchSample
    std::uint64_t placed = 0;             // likewise
    VmmPhase phase = VmmPhase::starting;  // as the active VMM says
    bool vmm_dead = false;                // the active one
};

// Exits of all vCPUs in one number: the vCPU's in the upper 8 bits.
constexpr std::uint64_t exit_name(unsigned cpu, std::uint64_t sequence) {
    return sequence | std::uint64_t{cpu} << 56;
}
constexpr unsigned cpu_of_exit(std::uint64_t name) { return static_cast<unsigned>(name >> 56); }
constexpr std::uint64_t number_of_exit(std::uint64_t name) { return name << 8 >> 8; }

// How far a piece of work brought it.
// waits: for something that VmLife::wake() tells of.
enum class Piece { more, done, failed, waits };

// The VMMs of a VM: the active one; the next, which is being loaded or waits; and the retired one, which was
// active before and is kept until it is buried.
class VmHands {
  public:
    // Begins with the guest without a VMM: memory, vCPUs, portals, device state. Its kernel is loaded by its
    // first VMM unless it is `restored`.
    virtual bool begin_guest(bool restored, Failure& why) = 0;
    virtual Piece guest_piece(Failure& why) = 0;
    // Lets the vCPU run.
    virtual bool start_guest(Failure& why) = 0;
    // The guest, or what there is of it, and its VMMs do nothing from now on.
    virtual void stop_guest() = 0;
    // A piece of them goes back, VMMs first; at last what is typed for it is forgotten. It does not fail.
    virtual Piece drop_piece() = 0;

    // Begins with the next VMM; there is none.
    virtual void begin_load(const char* module) = 0;
    virtual Piece load_piece(Failure& why) = 0;
    virtual void drop_next() = 0;
    // The next, which is loaded, becomes the active one and is given every exit from now on; the active one,
    // if there is one, retires.
    virtual bool take_over(Failure& why) = 0;
    // The retired one, which still lives, becomes active again; the active one is dropped.
    virtual void take_back() = 0;
    // The active one gets no further exits.
    virtual void unbind() = 0;
    virtual void kill() = 0;
    // The retired one goes; with a report if there is a cause.
    virtual void bury(const char* cause, std::uint64_t died_at) = 0;
    // The same by one bounded piece; what is left of it, bury() does as well.
    virtual Piece bury_piece(const char* cause, std::uint64_t died_at) = 0;
    // Reports on the active one, and on the guest that stands still; then all VMMs go.
    virtual void freeze(const char* cause, std::uint64_t died_at, const char* reason) = 0;

    // The vCPUs.
    virtual bool suspend_vcpu() = 0;
    virtual bool resume_vcpu() = 0;

    // Begins a copy of the guest, which is at rest: out to the checkpoint or in from it.
    virtual bool begin_copy(bool out, Failure& why) = 0;
    virtual Piece copy_piece(Failure& why) = 0;
    // Whatever is unfinished of it goes.
    virtual void end_copy() = 0;

    // What the active VMM says about its refusal or the guest's end.
    virtual void read_reason(char (&to)[104]) = 0;
    // The guest ended and is made anew.
    virtual void say_begins_anew(const char* reason) = 0;
    // The guest ended, or could not be started.
    virtual void say_ended(const char* reason, bool well) = 0;

  protected:
    ~VmHands() = default;
};

}  // namespace margay::init

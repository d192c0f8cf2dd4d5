// Results of system calls and of server requests. One enumeration for both, so that a server can hand
// on the reason it got from the kernel.
#pragma once
#include <cstdint>

namespace margay {

enum class Status : std::uint64_t {
    ok = 0,
    bad_syscall,     // no such system call or control operation
    bad_capability,  // the slot is empty, outside the table, or was revoked
    wrong_type,      // the capability names an object of another type
    no_right,        // the capability lacks the right that the operation needs
    bad_argument,    // a value is out of range, misaligned or contradictory
    no_memory,       // the storage or pool that the caller supplied is exhausted
    in_use,          // the extent is already used in another way, or the ranges overlap
    occupied,        // the destination slot or address range is not empty
    wrong_core,      // the object is bound to another core
    timed_out,       // the deadline passed first
    dead_partner,    // the handler died before it replied
    not_supported,   // this machine lacks the feature
    stale,           // the sequence number is not that of the pending exit
    too_deep,        // the chain of derivations would exceed max_derivation_depth
    not_found,       // no such item (server requests)
    corrupt,         // the input is not what it claims to be (server requests)
    count
};

// A short text for people. Never null.
constexpr const char* to_text(Status s) {
    switch (s) {
    case Status::ok: return "ok";
    case Status::bad_syscall: return "no such operation";
    case Status::bad_capability: return "no capability in that slot";
    case Status::wrong_type: return "capability of the wrong type";
    case Status::no_right: return "capability lacks the right";
    case Status::bad_argument: return "bad argument";
    case Status::no_memory: return "out of memory";
    case Status::in_use: return "already in use";
    case Status::occupied: return "destination is occupied";
    case Status::wrong_core: return "bound to another core";
    case Status::timed_out: return "timed out";
    case Status::dead_partner: return "partner died";
    case Status::not_supported: return "not supported by this machine";
    case Status::stale: return "stale sequence number";
    case Status::too_deep: return "derivation too deep";
    case Status::not_found: return "not found";
    case Status::corrupt: return "corrupt input";
    case Status::count: break;
    }
    return "unknown status";
}

}  // namespace margay

// A back end without a processor extension: shows that the generic kernel does without one. It keeps a
// guest in plain variables, lets tests make exits, and notes what it is asked for.
#pragma once
#include <cstdint>

#include "proto/exit.hpp"
#include "proto/vcpu_state.hpp"
#include "support/address.hpp"

namespace margay {

struct GuestContext {
    static constexpr std::uint64_t storage_bytes = 0;

    std::uint64_t instruction = 0, accumulator = 0, flags = 2;
    bool in_shadow = false;
    std::uint64_t interrupt = no_vector;  // offered, not taken
    std::uint64_t injected = 0;           // event of the last reply
    unsigned entries = 0, flushes = 0;

    std::uint64_t rip() const { return instruction; }
    std::uint64_t rax() const { return accumulator; }
    std::uint64_t rflags() const { return flags; }
    void set_rax(std::uint64_t value) { accumulator = value; }
    std::uint64_t exit_flags() const {
        return (in_shadow ? exit_flag::shadow : 0) |
               (interrupt != no_vector ? exit_flag::irq_pending : 0);
    }
    void keep_shadow() {}  // it forgets none
    void advance(std::uint64_t next_rip) {
        instruction = next_rip;
        in_shadow = false;
    }
};

struct BackendCore {
    static constexpr unsigned pages = 0;
    bool enabled = false;
};

class PermissionMap {
  public:
    // One bit per port, and as much as other back ends take: tests count pages.
    static constexpr std::uint64_t bytes = 5 * page_size;

    void init(HostPhys storage);
    void allow_ports(std::uint64_t first, std::uint64_t count) { set(first, count, false); }
    void intercept_ports(std::uint64_t first, std::uint64_t count) { set(first, count, true); }
    bool intercepts_port(std::uint64_t port) const {
        return (bits_[port / 8] >> port % 8 & 1) != 0;
    }

  private:
    void set(std::uint64_t first, std::uint64_t count, bool intercept);
    std::uint8_t* bits_ = nullptr;
};

}  // namespace margay

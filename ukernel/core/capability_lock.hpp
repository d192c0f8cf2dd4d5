// Protects the derivation tree and what hangs on it. IPC, VM exits, signals, waits and scheduling
// never take it: it is for creating, copying, mapping, controlling and revoking, and it is held for a
// bounded time. Whoever waits for it goes on serving other cores, so that a revocation that waits for
// this core does not wait for ever; for the same reason nobody may hold pointers to objects when
// asking for it.
#pragma once
#include <atomic>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"

namespace margay {

class CapabilityLock {
  public:
    CapabilityLock() {
        while (locked_.test_and_set(std::memory_order_acquire)) {
            Core::here().serve_others();
            cpu::pause();
        }
    }
    ~CapabilityLock() { locked_.clear(std::memory_order_release); }
    CapabilityLock(const CapabilityLock&) = delete;
    CapabilityLock& operator=(const CapabilityLock&) = delete;

  private:
    inline static std::atomic_flag locked_;
};

}  // namespace margay

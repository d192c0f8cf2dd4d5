// Whether a VMM that died is started again, and which build. Pure logic.
#pragma once
#include <cstdint>

namespace margay::init {

struct RestartLimits {
    std::uint64_t count = 16;  // deaths within the window that are still answered by a restart
    std::uint64_t window_ms = 10000;  // from the first of them
    bool has_fallback = false;        // there is another build
};

enum class RestartDecision { same, fallback, freeze };

class RestartPolicy {
  public:
    struct Death {
        std::uint64_t sequence;  // of the vCPU's last exit
        bool at_exit;            // it had that exit to answer, or had not begun to serve
        bool refused;            // it cannot attach to the VM's state: it is not tried again
        std::uint64_t now_ms;
        unsigned suspects =
            1;  // vCPUs that the VMM's thread served: it may have died of another's exit
    };

    explicit RestartPolicy(const RestartLimits& limits = {}) : limits_{limits} {}

    // For deaths of its own fault. The first death at an exit is answered by the same build, the second by the fallback; when that
    // dies there as well, or there is none, the VM is frozen. A build stays in use once it was chosen. Exits are served in turn: each
    // other suspect may be the cause once while this exit waits, and no more.
    RestartDecision vmm_died(const Death& death);
    void change(const RestartLimits& limits) { limits_ = limits; }
    // After `freeze`: why.
    const char* reason() const { return reason_; }
    // Somebody chose a build by hand: what was before does not count.
    void begin_anew();

  private:
    RestartDecision freeze(const char* reason) {
        reason_ = reason;
        return RestartDecision::freeze;
    }
    RestartDecision next_build(const char* reason_if_none);

    RestartLimits limits_;
    const char* reason_ = "";
    std::uint64_t sequence_ = ~0ull;  // at the last death
    unsigned deaths_here_ = 0;
    std::uint64_t window_begin_ms_ = 0, deaths_in_window_ = 0;
    bool on_fallback_ = false;
};

}  // namespace margay::init

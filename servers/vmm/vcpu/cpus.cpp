#include "servers/vmm/vcpu/cpus.hpp"

#include "servers/vmm/devices/inbox.hpp"

namespace margay::vmm {

bool all_are_off(const Cpus& cpus) noexcept {
    using Number = std::atomic_ref<std::uint64_t>;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    std::uint64_t taken_in[max_cpus] = {};
    for (unsigned i = 0; i < cpus.count; ++i) {
        taken_in[i] = Number{cpus.state[i]->inbox.live.taken_in}.load();
    }
    for (unsigned i = 0; i < cpus.count; ++i) {
        const auto& glue = cpus.state[i]->vcpu.live;
        if (cpus.takes_messages[i] || (glue.is_off == 0 && glue.awaits_startup == 0)) {
            return false;
        }
    }
    // From here on only one that is woken by a message can send another one, and that shows.
    for (unsigned i = 0; i < cpus.count; ++i) {
        if (!Inbox{cpus.state[i]->inbox.live}.is_empty()) {
            return false;
        }
    }
    for (unsigned i = 0; i < cpus.count; ++i) {
        if (taken_in[i] != Number{cpus.state[i]->inbox.live.taken_in}.load()) {
            return false;
        }
    }
    return true;
}

}  // namespace margay::vmm

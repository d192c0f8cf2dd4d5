// servers/vmm/loader/low_memory.cpp, but files come to their places in small pieces, and whoever tests says how long each
// one takes.
#define move_in move_in_at_once
#include "servers/vmm/loader/low_memory.cpp"
#undef move_in

#include "tests/host_node/programs/vmm_seam.hpp"

namespace margay::vmm {

void move_in(std::span<std::byte> to, std::span<const std::byte> from,
             std::atomic<std::uint64_t>* placed) noexcept {
    constexpr std::size_t piece = 4096;
    for (std::size_t at = 0; at < from.size(); at += piece) {
        const std::size_t size = std::min(piece, from.size() - at);
        move_in_at_once(to.subspan(at), from.subspan(at, size), placed);
        host_node_placed();
    }
}

}  // namespace margay::vmm

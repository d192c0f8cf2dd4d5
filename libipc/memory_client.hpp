// Memory from pmem.
#pragma once
#include "libipc/system_call.hpp"
#include "proto/pmem.hpp"

namespace margay {

struct Extent {
    Slot slot = no_slot;
    std::uint64_t base = 0;  // host-physical
    std::uint64_t size = 0;
};

// Makes a request whose answer brings memory, into the empty slot `into`.
[[nodiscard]] inline Result<Extent> receive_memory(Slot portal, Slot into, Message m) {
    Status s = thread_ctl(no_slot, ThreadOp::set_receive_slot, into);
    if (s != Status::ok) return s;
    s = call(portal, m);
    if (s != Status::ok) return s;
    const auto answer = static_cast<Status>(m.label & ~label_transfer);
    if (answer != Status::ok) return answer;
    if (m.words[5] != 1) {
        // Nobody could ever name it: give it back.
        Message back{static_cast<std::uint64_t>(PmemCall::release), {m.words[0]}};
        (void)call(portal, back);
        return Status::occupied;
    }
    return Extent{into, m.words[0], m.words[1]};
}

// Allocates into the empty slot `into`.
[[nodiscard]] inline Result<Extent> allocate_memory(Slot portal, Slot into, std::uint64_t bytes,
                                                    std::uint64_t alignment = page_size,
                                                    std::uint64_t node = any_node) {
    constexpr auto ram = static_cast<std::uint64_t>(MemoryType::ram);
    return receive_memory(
        portal, into,
        {static_cast<std::uint64_t>(PmemCall::allocate), {bytes, alignment, ram, node}});
}

// Of `bytes`, all multiples of `alignment`, the part at `offset` in the whole; or less, as much as is in one piece.
[[nodiscard]] inline Result<Extent> allocate_part(Slot portal, Slot into, std::uint64_t bytes,
                                                  std::uint64_t alignment, std::uint64_t offset,
                                                  std::uint64_t node) {
    constexpr auto ram = static_cast<std::uint64_t>(MemoryType::ram);
    return receive_memory(
        portal, into,
        {static_cast<std::uint64_t>(PmemCall::part), {bytes, alignment, ram, node, offset}});
}

[[nodiscard]] inline Status release_memory(Slot portal, std::uint64_t base) {
    Message m{static_cast<std::uint64_t>(PmemCall::release), {base}};
    const Status s = call(portal, m);
    return s != Status::ok ? s : static_cast<Status>(m.label);
}

// Releases everything that a dead client held. For the supervisor.
[[nodiscard]] inline Status forget_client(Slot portal, std::uint64_t badge) {
    Message m{static_cast<std::uint64_t>(PmemCall::forget), {badge}};
    const Status s = call(portal, m);
    return s != Status::ok ? s : static_cast<Status>(m.label);
}

struct MemoryUse {
    std::uint64_t free = 0, largest = 0, used = 0, extents = 0, dirty = 0;
};
[[nodiscard]] inline Result<MemoryUse> query_memory_use(Slot portal,
                                                        std::uint64_t node = any_node) {
    Message m{static_cast<std::uint64_t>(PmemCall::query), {node}};
    const Status s = call(portal, m);
    if (s != Status::ok) return s;
    if (m.label != 0) return static_cast<Status>(m.label);
    return MemoryUse{m.words[0], m.words[1], m.words[2], m.words[3], m.words[4]};
}

}  // namespace margay

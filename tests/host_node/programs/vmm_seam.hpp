// What a VMM in a host program asks whoever tests it. Defined by the host program (node.cpp).
#pragma once
#include <cstdint>

#define HOST_NODE_SEAM extern "C" [[gnu::visibility("default")]]

// What is to become of the VMM at this moment: 0 it goes on, 1 it dies, 2 it hangs.
HOST_NODE_SEAM unsigned host_node_vmm_moment(std::uint64_t sequence, bool replayed, bool after);
// What it has made of an exit: the fields of Exit, then those of Reply.
HOST_NODE_SEAM void host_node_vmm_answer(const std::uint64_t (&values)[13]);
// The VMM that takes its time (slow_low_memory.cpp) has put a piece of a file to its place.
HOST_NODE_SEAM void host_node_placed();
// It runs without end.
HOST_NODE_SEAM void host_node_spin();
// The VMM dies when it has executed so many basic blocks more; 0: it does not.
HOST_NODE_SEAM std::uint64_t host_node_blocks_left;
// Called at each basic block of init, pmem and the console, if there is somebody.
HOST_NODE_SEAM void (*host_node_on_block)();

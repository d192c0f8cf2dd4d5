#include "tests/host_node/user_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "proto/kernel.hpp"
#include "tests/unit/kernel/fakes/machine.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/page_table.hpp"

namespace margay::host_node::user_memory {

namespace {

// Where Domains map anything (proto/vmm.hpp, boot_info_address, init's windows). AddressSanitizer needs
// 0x7fff8000 to 0x10007fff7fff, and the host's own code and data lie above 0x5000'0000'0000.
struct Window {
    std::uint64_t begin, end;
};
constexpr Window windows[] = {{0x40'0000, 0x7fff'0000}, {0x2000'0000'0000, 0x3000'0000'0000}};

HostPhys current{0};
std::vector<Window> visible;

// One leaf that user code may use.
struct UserLeaf {
    std::uint64_t begin, size;  // of the page that the leaf maps
    std::uint64_t physical;
    bool write;
};

bool find(std::uint64_t address, UserLeaf& leaf) {
    std::uint64_t table = current.value();
    for (unsigned level = page_table_levels - 1;; --level) {
        const std::uint64_t entry =
            direct<std::uint64_t>(HostPhys{table})[address >> (12 + 9 * level) & 511];
        if ((entry & pte::present) == 0 || (entry & pte::user) == 0) return false;
        const std::uint64_t at = entry & pte::address_mask;
        if (level != 0 && (entry & pte::large) == 0) {
            table = at;
            continue;
        }
        const std::uint64_t size = leaf_size(level);
        leaf = {align_down(address, size), size, align_down(at, size), (entry & pte::write) != 0};
        return true;
    }
}

// Neighbours that continue it come along; at most this far.
constexpr std::uint64_t reach = 4 << 20;

}  // namespace

void load(HostPhys root) {
    if (root == current) return;
    current = root;
    flush();
}

void flush() {
    for (const Window& w : visible) munmap(reinterpret_cast<void*>(w.begin), w.end - w.begin);
    visible.clear();
}

bool resolve(std::uint64_t address, bool write) {
    const auto* const window = std::ranges::find_if(
        windows, [&](const Window& w) { return address >= w.begin && address < w.end; });
    if (window == std::end(windows)) return false;
    UserLeaf first;
    if (!find(address, first) || (write && !first.write)) return false;
    for (auto w = visible.begin(); w != visible.end(); ++w)
        if (address >= w->begin && address < w->end) {
            // An old translation without the right.
            flush();
            break;
        }
    std::uint64_t begin = first.begin, end = first.begin + first.size;
    UserLeaf next;
    const auto taken = [&](std::uint64_t at) {
        return std::ranges::any_of(visible,
                                   [&](const Window& w) { return at >= w.begin && at < w.end; });
    };
    while (end - first.begin < reach && !taken(end) && find(end, next) &&
           next.write == first.write && next.physical == first.physical + (end - first.begin))
        end = next.begin + next.size;
    while (first.begin - begin < reach && begin != 0 && !taken(begin - 1) &&
           find(begin - 1, next) && next.write == first.write &&
           next.physical + next.size == first.physical - (first.begin - begin))
        begin = next.begin;
    const std::uint64_t physical = first.physical - (first.begin - begin);
    if (physical < machine::ram_begin ||
        physical + (end - begin) > machine::ram_begin + machine::max_ram_bytes)
        return false;
    void* const at =
        mmap(reinterpret_cast<void*>(begin), end - begin,
             PROT_READ | (first.write ? PROT_WRITE : 0), MAP_SHARED | MAP_FIXED_NOREPLACE,
             machine::ram_file(), static_cast<off_t>(physical - machine::ram_begin));
    if (at != reinterpret_cast<void*>(begin)) {
        std::perror("user memory");
        std::abort();
    }
    visible.push_back({begin, end});
    return true;
}

}  // namespace margay::host_node::user_memory

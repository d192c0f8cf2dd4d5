// Page tables of four levels, or fewer: of processors (format/x86.hpp) and of IOMMUs. Pure logic over a back end and a
// format, so that host tests run the same code.
//
// Back end:  std::uint64_t* table(HostPhys)    where the table can be accessed
//            std::optional<HostPhys> allocate()  a zeroed table
//            void release(HostPhys)            the table is out of the tree; it may still be cached
//                                              by a TLB until the caller has done its shootdown
#pragma once
#include <cstdint>
#include <optional>

#include "proto/status.hpp"
#include "support/address.hpp"
#include "ukernel/memory/format/x86.hpp"

namespace margay {

constexpr unsigned page_table_levels = 4;
constexpr std::uint64_t leaf_size(unsigned level) { return 1ull << (12 + 9 * level); }

// The largest page (level 0: 4 KiB, 1: 2 MiB, 2: 1 GiB) that fits at this place.
constexpr unsigned best_level(std::uint64_t address, std::uint64_t physical, std::uint64_t size,
                              unsigned max_level) {
    unsigned level = max_level;
    while (level > 0 &&
           (size < leaf_size(level) || !is_aligned(address | physical, leaf_size(level))))
        --level;
    return level;
}

struct Leaf {
    HostPhys physical;
    std::uint64_t flags;
    unsigned level;
};

template <typename Backend, typename Format = X86Format>
class PageTable {
  public:
    // max_level: largest leaf that the processor supports (2 with 1 GiB pages, else 1). Addresses are within the reach of
    // so many levels.
    PageTable(Backend& backend, HostPhys root, unsigned max_level,
              unsigned levels = page_table_levels)
        : backend_{backend}, root_{root}, max_level_{max_level}, top_{levels - 1} {}

    // How many leaves a mapping takes; saturates at `limit`.
    std::uint64_t leaves(std::uint64_t address, HostPhys physical, std::uint64_t size,
                         std::uint64_t limit) const {
        std::uint64_t count = 0;
        std::uint64_t pa = physical.value();
        while (size != 0 && count < limit) {
            const std::uint64_t run = equal_leaves(address, pa, size);
            const std::uint64_t step = run * leaf_size(best_level(address, pa, size, max_level_));
            address += step, pa += step, size -= step, count += run;
        }
        return count < limit ? count : limit;
    }

    // Maps [address, address+size) to physical with leaf flags. All page-aligned. Nothing is changed
    // unless everything succeeds: `occupied` if part of the range is mapped, `no_memory` if the pool
    // cannot supply the tables.
    Status map(std::uint64_t address, HostPhys physical, std::uint64_t size, std::uint64_t flags) {
        std::uint64_t done = 0;
        while (done < size) {
            const std::uint64_t va = address + done;
            const std::uint64_t pa = physical.value() + done;
            const unsigned level = best_level(va, pa, size - done, max_level_);
            std::uint64_t set = 0;
            const Status s =
                set_leaves(va, pa, level, equal_leaves(va, pa, size - done), flags, set);
            done += set * leaf_size(level);
            if (s != Status::ok) {
                unmap(address, done);
                prune(root_, top_, address + done, address + done + 1, 0);
                return s;
            }
        }
        return Status::ok;
    }

    // Removes every leaf in the range and the tables that become empty. Only whole leaves may lie in
    // the range (mappings are removed as they were made).
    void unmap(std::uint64_t address, std::uint64_t size) {
        if (size != 0) prune(root_, top_, address, address + size, 0);
    }

    std::optional<Leaf> lookup(std::uint64_t address) const {
        HostPhys table = root_;
        for (unsigned level = top_;; --level) {
            const std::uint64_t entry = backend_.table(table)[index(address, level)];
            if (!Format::is_present(entry)) return std::nullopt;
            if (Format::is_leaf(entry, level)) {
                const std::uint64_t offset = address & (leaf_size(level) - 1);
                const std::uint64_t base = entry & Format::address_mask & ~(leaf_size(level) - 1);
                return Leaf{HostPhys{base + offset}, entry & ~Format::address_mask, level};
            }
            table = HostPhys{entry & Format::address_mask};
        }
    }

  private:
    static unsigned index(std::uint64_t address, unsigned level) {
        return static_cast<unsigned>(address >> (12 + 9 * level)) & 511;
    }

    // How many leaves of the largest size that fits here come one after the other in the same table: none of them
    // begins where a larger one could.
    std::uint64_t equal_leaves(std::uint64_t address, std::uint64_t physical,
                               std::uint64_t size) const {
        const unsigned level = best_level(address, physical, size, max_level_);
        const std::uint64_t in_table = 512 - index(address, level);
        const std::uint64_t fit = size / leaf_size(level);
        return in_table < fit ? in_table : fit;
    }

    // `count` leaves of one table; `set`: how many were.
    Status set_leaves(std::uint64_t va, std::uint64_t pa, unsigned leaf_level, std::uint64_t count,
                      std::uint64_t flags, std::uint64_t& set) {
        HostPhys table = root_;
        for (unsigned level = top_; level > leaf_level; --level) {
            std::uint64_t& entry = backend_.table(table)[index(va, level)];
            if (!Format::is_present(entry)) {
                const std::optional<HostPhys> fresh = backend_.allocate();
                if (!fresh) return Status::no_memory;
                Format::written(backend_.table(*fresh), 512);
                entry = Format::table(*fresh, level);
                Format::written(&entry, 1);
            } else if (Format::is_leaf(entry, level)) {
                return Status::occupied;
            }
            table = HostPhys{entry & Format::address_mask};
        }
        std::uint64_t* entry = &backend_.table(table)[index(va, leaf_level)];
        std::uint64_t* const first = entry;
        std::uint64_t leaf = Format::leaf(pa, flags, leaf_level);
        for (; set < count && !Format::is_present(*entry); ++set, ++entry) {
            *entry = leaf;
            leaf += leaf_size(leaf_level);
        }
        Format::written(first, set);
        return set == count ? Status::ok : Status::occupied;
    }

    bool is_empty(HostPhys table) const {
        const std::uint64_t* entries = backend_.table(table);
        for (unsigned i = 0; i < 512; ++i)
            if (entries[i] != 0) return false;
        return true;
    }

    // [begin, end) is within the reach of `table`, whose first entry maps `base`.
    void prune(HostPhys table, unsigned level, std::uint64_t begin, std::uint64_t end,
               std::uint64_t base) {
        std::uint64_t* entries = backend_.table(table);
        const std::uint64_t reach = leaf_size(level);
        for (std::uint64_t at = align_down(begin, reach); at < end; at += reach) {
            const unsigned i = static_cast<unsigned>((at - base) / reach) & 511;
            const std::uint64_t entry = entries[i];
            if (!Format::is_present(entry)) continue;
            if (Format::is_leaf(entry, level)) {
                if (at >= begin && at + reach <= end) clear(entries[i]);
                continue;
            }
            const HostPhys child{entry & Format::address_mask};
            prune(child, level - 1, begin > at ? begin : at, end < at + reach ? end : at + reach,
                  at);
            if (is_empty(child)) {
                clear(entries[i]);
                backend_.release(child);
            }
        }
    }

    static void clear(std::uint64_t& entry) {
        entry = 0;
        Format::written(&entry, 1);
    }

    Backend& backend_;
    HostPhys root_;
    unsigned max_level_;
    unsigned top_;  // the level of the root
};

}  // namespace margay

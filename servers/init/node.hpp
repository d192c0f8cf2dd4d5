// What init owns: the boot capabilities, slots, temporary mappings, the memory service.
#pragma once
#include <cstdint>
#include <string_view>

#include "libipc/memory_client.hpp"
#include "proto/boot_info.hpp"
#include "support/result.hpp"

namespace margay::init {

class Node {
  public:
    explicit Node(const BootInfo& info) : info_{info} {}

    const BootInfo& info() const { return info_; }

    // The boot module of that name, or null.
    const BootExtent* module(std::string_view name) const;

    // A slot that was never used. init's table is large enough for its lifetime; the last slots are
    // an error.
    Slot new_slot();
    // A range of init's address space that was never used, page-aligned or better.
    std::uint64_t new_range(std::uint64_t bytes, std::uint64_t alignment = page_size);

    // Memory: from the bootstrap extent until pmem runs, then from pmem.
    Result<Extent> allocate(std::uint64_t bytes, std::uint64_t alignment = page_size);
    void use_bootstrap(const Extent& e) { bootstrap_ = e; }
    void use_pmem(Slot portal) { pmem_ = portal; }

    // Maps an extent into init. The address.
    Result<std::uint64_t> map_here(const Extent& e, std::uint64_t rights);
    // A small kernel object with storage of its own.
    Result<Slot> create_event();

  private:
    const BootInfo& info_;
    Slot next_slot_ = init_slot::first_free;
    std::uint64_t next_address_ = 0x40'0000'0000;
    Extent bootstrap_;
    Slot pmem_ = no_slot;
};

}  // namespace margay::init

// What init owns: the boot capabilities, slots, temporary mappings, the memory service.
#pragma once
#include <cstdint>
#include <string_view>

#include "libipc/memory_client.hpp"
#include "proto/boot_info.hpp"
#include "servers/init/image.hpp"
#include "servers/init/ram.hpp"
#include "support/result.hpp"

namespace margay::init {

constexpr std::uint64_t us_per_ms = 1000;

// Who hands out memory once the node runs.
class MemorySource {
  public:
    // A request to pmem (proto/pmem.hpp) and its answer. Anything but ok: there is no pmem.
    virtual Status ask(Message& m) = 0;
    // The boot extent of that number.
    virtual Slot root(std::uint64_t index) const = 0;
    // An extent of which no capability is left.
    virtual void release(std::uint64_t base) = 0;
    // Waits a moment for memory that is being cleared. False: there is none.
    virtual bool await_cleared() = 0;
    // What there is; zeros if nobody knows.
    virtual MemoryUse use(std::uint64_t numa_node) = 0;

  protected:
    ~MemorySource() = default;
};

class Node {
  public:
    explicit Node(const BootInfo& info);

    const BootInfo& info() const { return info_; }

    // The module of that name, or null. One that was put comes before a boot module.
    const Module* module(std::string_view name) const;
    // Places of modules, those of boot modules first; null: nothing is there.
    static constexpr unsigned max_boot_modules = 32, max_put_modules = 16,
                              max_modules = max_boot_modules + max_put_modules;
    const Module* module_at(unsigned index) const {
        return index < max_modules && modules_[index].name[0] != 0 ? &modules_[index] : nullptr;
    }
    // A module that was put, its name and RAM stay where they are. False if there is no place.
    bool add_module(const Module& m);
    // It was put, nobody uses it any more, and its memory has been given back, with every mapping of it.
    void remove_module(std::string_view name);
    // The module as a program. `not_found`, `no_memory`, or `corrupt` with Image::wrong in `why`.
    Result<const Image*> image(std::string_view name, const char*& why);

    // An empty slot. init's table is large enough for its lifetime; the last slots are an error.
    Slot new_slot();
    // It must be empty.
    void give_back_slot(Slot slot);
    unsigned slots_in_use() const {
        return static_cast<unsigned>(next_slot_ - init_slot::first_free) - free_slot_count_;
    }
    // An unused range of init's address space, page-aligned or better.
    std::uint64_t new_range(std::uint64_t bytes, std::uint64_t alignment = page_size);

    // Memory: from the bootstrap extent until pmem runs, then from pmem.
    Result<Extent> allocate(std::uint64_t bytes, std::uint64_t alignment = page_size);
    // RAM in as few extents as there are, of the NUMA node as far as it has any. What was allocated is in `ram` also
    // when it fails.
    Status allocate_ram(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram);
    // The same in bounded pieces, from an empty `ram` on until `done`. Whoever begins asks has_free().
    Status allocate_ram_piece(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram, bool& done);
    // What pmem has; zeros if it does not say.
    MemoryUse memory_use() const { return memory_->use(any_node); }
    bool has_free(std::uint64_t bytes) const { return memory_use().free >= bytes; }
    // To where it came from, with everything derived from it.
    void release(const Extent& e);
    void release(const Ram& ram) {
        for (unsigned i = 0; i < ram.count; ++i) release(ram.extent[i]);
    }
    // Memory comes from this extent, or from pmem. What lies in `kept` is not pmem's.
    void use_bootstrap(const Extent& e) {
        bootstrap_ = e;
        from_bootstrap_ = true;
    }
    void use_pmem(MemorySource& memory) {
        memory_ = &memory;
        from_bootstrap_ = false;
    }
    // Device memory of the machine, with what base and size of the extent say, into its empty slot. `not_found`: that is not
    // device memory; others as carve().
    Status carve_device(const Extent& e) const;
    const Extent& bootstrap() const { return bootstrap_; }
    void keep_back(const Extent& kept) { kept_ = kept; }

    // Maps an extent into init. The address.
    Result<std::uint64_t> map_here(const Extent& e, std::uint64_t rights);
    // RAM, as one; its window is given back as that of an extent with base 0 and its size.
    Result<std::uint64_t> map_here(const Ram& ram, std::uint64_t rights);
    // After the mapping was revoked: its addresses can be used again.
    void give_back_window(const Extent& e, std::uint64_t at);
    unsigned windows_in_use() const { return windows_; }
    // A small kernel object with storage of its own.
    Result<Slot> create_event();

    std::uint64_t ticks(std::uint64_t microseconds) const {
        return info_.tsc_khz * microseconds / 1000;
    }
    std::uint64_t nanoseconds(std::uint64_t ticks) const {
        return ticks / info_.tsc_khz * 1'000'000 +
               ticks % info_.tsc_khz * 1'000'000 / info_.tsc_khz;
    }

  private:
    // Of size 0: something was cleared for it, and it must be asked for again.
    Result<Extent> ask_for(PmemCall what, std::uint64_t bytes, std::uint64_t alignment,
                           std::uint64_t numa_node, std::uint64_t offset);
    // Of size + large_page bytes, at a large page.
    std::uint64_t take_window(std::uint64_t size);

    static constexpr unsigned max_free = 8192, max_images = 24;
    struct Range {
        std::uint64_t at, size;
    };

    const BootInfo& info_;
    Slot next_slot_ = init_slot::first_free;
    Slot free_slots_[max_free];
    unsigned free_slot_count_ = 0;
    std::uint64_t next_address_ = 0x2000'0000'0000;
    Range free_windows_[max_free];
    unsigned free_window_count_ = 0, windows_ = 0;
    Module modules_[max_modules];
    Image images_[max_images];  // module null: free
    Extent bootstrap_, kept_;
    bool from_bootstrap_ = true;
    MemorySource* memory_ = nullptr;
};

}  // namespace margay::init

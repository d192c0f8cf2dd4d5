#include "ukernel/memory/kernel_tables.hpp"

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/page_table.hpp"

extern "C" char text_begin[], text_end[], rodata_begin[], rodata_end[], data_begin[], data_end[];

namespace margay::kernel_tables {

namespace {

struct BootFrames {
    std::uint64_t* table(HostPhys p) const { return direct<std::uint64_t>(p); }
    std::optional<HostPhys> allocate() { return boot_allocator::allocate(4096); }
    void release(HostPhys) {}
};

BootFrames frames;
HostPhys root_table;
const MemoryMap* memory_map = nullptr;
std::uint64_t devices = 0;
std::uint64_t firmware = 0;

PageTable<BootFrames> tables(unsigned max_level) { return {frames, root_table, max_level}; }

// Kernel tables have no user bit in their leaves; the upper levels may have it.
void must_map(std::uint64_t address, HostPhys physical, std::uint64_t size, std::uint64_t flags,
              unsigned max_level) {
    if (size == 0) return;
    const Status s = tables(max_level).map(address, physical, size, flags);
    MARGAY_EXPECT(s == Status::ok);
}

HostPhys image_physical(const char* p) {
    return HostPhys{reinterpret_cast<std::uint64_t>(p) - kernel_image_base};
}

void map_image(const char* begin, const char* end, std::uint64_t flags) {
    must_map(reinterpret_cast<std::uint64_t>(begin), image_physical(begin),
             static_cast<std::uint64_t>(end - begin), flags | pte::global, 0);
}

// RAM below the image's end is mapped around text and constants: they have no writable alias.
void map_ram(HostPhys begin, HostPhys end) {
    const HostPhys hole_begin = image_physical(text_begin);
    const HostPhys hole_end = image_physical(rodata_end);
    const unsigned level = features().gigabyte_pages ? 2 : 1;
    const std::uint64_t flags = pte::write | pte::no_execute | pte::global;
    if (begin < hole_begin && end > hole_begin) {
        must_map(direct_map_base + begin.value(), begin, hole_begin - begin, flags, level);
        begin = hole_begin;
    }
    if (begin >= hole_begin && begin < hole_end) begin = hole_end;
    if (begin < end) must_map(direct_map_base + begin.value(), begin, end - begin, flags, level);
}

}  // namespace

void build(const MemoryMap& memory) {
    root_table = boot_allocator::allocate(4096);
    // Every entry of the upper half that is used must exist before the first Domain copies it.
    map_image(text_begin, text_end, 0);
    map_image(rodata_begin, rodata_end, pte::no_execute);
    map_image(data_begin, data_end, pte::write | pte::no_execute);
    for (const MemoryRange& r : memory)
        if (r.kind == RamKind::free) map_ram(r.begin, r.end);
    memory_map = &memory;
    cpu::write_cr3(root_table.value());
}

HostPhys root() { return root_table; }

void share(std::uint64_t* domain_root) {
    const std::uint64_t* kernel = direct<std::uint64_t>(root_table);
    for (unsigned i = 256; i < 512; ++i) domain_root[i] = kernel[i];
}

void* map_device(HostPhys page) {
    const std::uint64_t address = device_window + devices;
    devices += page_size;
    must_map(address, HostPhys{align_down(page.value(), page_size)}, page_size,
             pte::write | pte::no_execute | pte::uncached | pte::write_through | pte::global, 0);
    return reinterpret_cast<void*>(address + (page.value() & (page_size - 1)));
}

const void* map_firmware(HostPhys begin, std::uint64_t bytes) {
    const std::uint64_t limit = 1ull << features().physical_bits;
    if (begin.value() >= limit || bytes == 0 || bytes > limit - begin.value()) return nullptr;
    const HostPhys first{align_down(begin.value(), page_size)};
    const std::uint64_t size = align_up(begin.value() + bytes, page_size) - first.value();
    if (firmware + size > firmware_window_bytes) return nullptr;
    const std::uint64_t address = firmware_window + firmware;
    firmware += size;
    must_map(address, first, size, pte::no_execute | pte::global, 0);
    return reinterpret_cast<const void*>(address + (begin - first));
}

void identity_map(HostPhys page, bool present) {
    if (present) {
        must_map(page.value(), page, page_size, 0, 0);
        return;
    }
    tables(0).unmap(page.value(), page_size);
    cpu::write_cr3(cpu::read_cr3());
}

bool is_mapped(std::uint64_t address) { return tables(0).lookup(address).has_value(); }

bool is_ram(HostPhys address) { return memory_map->is_free(address, address + 1); }

}  // namespace margay::kernel_tables

#include "servers/vmm/loader/pvh_loader.hpp"

#include "servers/vmm/loader/behind_kernel.hpp"
#include "servers/vmm/loader/elf_image.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/low_memory.hpp"
#include "servers/vmm/loader/memory_map.hpp"

#include <cstring>

namespace margay::vmm {

namespace {

// Xen's public header hvm/start_info.h. Offsets in the start info; module and map follow it.
namespace start_info {
constexpr std::uint32_t info_magic = 0x336e'c578;
constexpr std::uint32_t version = 1;
constexpr std::size_t at_magic = 0, at_version = 4, at_module_count = 12, at_modules = 16;
constexpr std::size_t at_command_line = 24, at_rsdp = 32, at_map = 40, at_map_count = 48;
constexpr std::size_t info_size = 56, module_size = 32, range_size = 24;
}  // namespace start_info

void write_info(std::span<std::byte> ram, const GuestImage& image, std::uint64_t module,
                const MemoryMap& map) {
    using namespace start_info;
    constexpr auto info = low_memory::parameters;
    constexpr auto modules = info + 64, ranges = modules + module_size;
    std::memset(ram.data() + info, 0, 0x1000);
    static_assert(info_size <= 64 && 64 + module_size + MemoryMap::capacity * range_size <= 0x1000);
    store_at<std::uint32_t>(ram, info + at_magic, info_magic);
    store_at<std::uint32_t>(ram, info + at_version, version);
    if (module != 0) {
        store_at<std::uint32_t>(ram, info + at_module_count, 1);
        store_at<std::uint64_t>(ram, info + at_modules, modules);
        store_at<std::uint64_t>(ram, modules, module);
        store_at<std::uint64_t>(ram, modules + 8, image.initrd.size());
    }
    store_at<std::uint64_t>(ram, info + at_command_line, low_memory::command_line);
    store_at<std::uint64_t>(ram, info + at_rsdp, image.rsdp);
    store_at<std::uint64_t>(ram, info + at_map, ranges);
    store_at<std::uint32_t>(ram, info + at_map_count, map.size());
    auto at = ranges;
    for (const auto& range : map) {
        store_at<std::uint64_t>(ram, at, range.start);
        store_at<std::uint64_t>(ram, at + 8, range.end - range.start);
        store_at<std::uint32_t>(ram, at + 16, static_cast<std::uint32_t>(range.type));
        at += range_size;
    }
}

}  // namespace

LoadResult load_pvh(std::span<std::byte> ram, const GuestImage& image) noexcept {
    const auto layout = RamLayout::make(ram.size());
    if (layout.low < 2 * low_memory::end) {
        return {LoadError::ram_too_small, {}};
    }
    const ElfImage elf{image.kernel};
    if (elf.error() != LoadError::none) {
        return {elf.error(), {}};
    }
    std::uint64_t entry = 0;
    if (const auto error = elf.find_pvh_entry(entry); error != LoadError::none) {
        return {error, {}};
    }
    if (!elf.holds(entry)) {
        return {LoadError::bad_entry, {}};
    }
    if (image.command_line.size() >= low_memory::command_line_room) {
        return {LoadError::command_line_too_long, {}};
    }
    const auto module = place_behind(elf.begin(), elf.end(), image.initrd.size(), layout.low);
    if (module.error != LoadError::none) {
        return {module.error, {}};
    }

    // From here on nothing fails.
    elf.load(ram, image.placed);
    if (module.address != 0) {
        move_in(ram.subspan(module.address), image.initrd, image.placed);
    }
    write_text(ram, low_memory::command_line, image.command_line);
    write_info(ram, image, module.address, MemoryMap{layout});

    auto start = start_protected(ram);
    start.rip = entry;
    start.rbx = low_memory::parameters;
    start.kernel_base = elf.begin();
    start.initrd_base = module.address;
    return {LoadError::none, start};
}

}  // namespace margay::vmm

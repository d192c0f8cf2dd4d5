#include "servers/vmm/loader/multiboot_loader.hpp"

#include "servers/vmm/loader/behind_kernel.hpp"
#include "servers/vmm/loader/elf_image.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/low_memory.hpp"
#include "servers/vmm/loader/memory_map.hpp"
#include "servers/vmm/loader/multiboot_header.hpp"

#include <algorithm>
#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::uint32_t magic_in_eax = 0x2bad'b002;
constexpr std::string_view name = "kernel ";
constexpr std::string_view loader_name = "Margay";

// Multiboot 0.6.96 §3.3.
namespace multiboot_info {
constexpr std::uint32_t has_memory = 1 << 0, has_command_line = 1 << 2, has_modules = 1 << 3,
                        has_map = 1 << 6, has_loader_name = 1 << 9;
constexpr std::size_t at_flags = 0, at_lower = 4, at_upper = 8, at_command_line = 16,
                      at_module_count = 20, at_modules = 24, at_map_size = 44, at_map = 48,
                      at_loader_name = 64;
constexpr std::size_t info_size = 116, module_size = 16, range_size = 24;
}  // namespace multiboot_info

void write_info(std::span<std::byte> ram, const GuestImage& image, std::uint64_t module,
                const RamLayout& layout) {
    using namespace multiboot_info;
    constexpr auto info = low_memory::parameters;
    constexpr auto modules = info + 128, ranges = modules + module_size, text = info + 512,
                   no_text = text + loader_name.size();
    static_assert(info_size <= 128 && ranges + MemoryMap::capacity * range_size <= text);
    const MemoryMap map{layout};
    std::memset(ram.data() + info, 0, 0x1000);
    const auto put = [ram](std::uint64_t at, std::uint64_t value) {
        store_at<std::uint32_t>(ram, info + at, static_cast<std::uint32_t>(value));
    };
    put(at_flags, has_memory | has_command_line | has_map | has_loader_name |
                      (module != 0 ? has_modules : 0));
    put(at_lower, MemoryMap::low_memory_end / 1024);
    put(at_upper, (layout.low - low_memory::end) / 1024);
    put(at_command_line, low_memory::command_line);
    if (module != 0) {
        put(at_module_count, 1);
        put(at_modules, modules);
        put(modules - info, module);
        put(modules - info + 4, module + image.initrd.size());
        put(modules - info + 8, no_text);
    }
    put(at_map_size, map.size() * range_size);
    put(at_map, ranges);
    put(at_loader_name, text);
    write_text(ram, text, loader_name);
    auto at = ranges;
    for (const auto& range : map) {
        store_at<std::uint32_t>(ram, at, range_size - 4);  // of the rest
        store_at<std::uint64_t>(ram, at + 4, range.start);
        store_at<std::uint64_t>(ram, at + 12, range.end - range.start);
        store_at<std::uint32_t>(ram, at + 20, static_cast<std::uint32_t>(range.type));
        at += range_size;
    }
}

}  // namespace

LoadResult load_multiboot(std::span<std::byte> ram, const GuestImage& image) noexcept {
    const auto layout = RamLayout::make(ram.size());
    if (layout.low < 2 * low_memory::end) {
        return {LoadError::ram_too_small, {}};
    }
    const auto place = find_multiboot_header(image.kernel);
    if (place.found != MultibootFound::header) {
        return {LoadError::bad_multiboot_checksum, {}};
    }
    const auto header = parse_multiboot_header(image.kernel, place.offset);
    if (header.error != LoadError::none) {
        return {header.error, {}};
    }
    if (!header.has_addresses && !is_elf(image.kernel)) {
        return {LoadError::multiboot_no_addresses, {}};
    }
    if (image.command_line.size() + name.size() >= low_memory::command_line_room) {
        return {LoadError::command_line_too_long, {}};
    }
    auto begin = header.load_address, end = header.load_address + header.size, entry = header.entry;
    if (!header.has_addresses) {
        const ElfImage elf{image.kernel};
        if (elf.error() != LoadError::none) {
            return {elf.error(), {}};
        }
        if (!elf.entry()) {
            return {LoadError::bad_entry, {}};
        }
        begin = elf.begin(), end = elf.end(), entry = *elf.entry();
    }
    const auto module = place_behind(begin, end, image.initrd.size(), layout.low);
    if (module.error != LoadError::none) {
        return {module.error, {}};
    }

    // From here on nothing fails.
    if (header.has_addresses) {
        move_in(ram.subspan(begin), image.kernel.subspan(header.code_offset, header.load_size),
                image.placed);
        std::memset(ram.data() + begin + header.load_size, 0, header.size - header.load_size);
    } else {
        ElfImage{image.kernel}.load(ram, image.placed);
    }
    if (module.address != 0) {
        move_in(ram.subspan(module.address), image.initrd, image.placed);
    }
    write_text(ram, low_memory::command_line, name);
    write_text(ram, low_memory::command_line + name.size(), image.command_line);
    write_info(ram, image, module.address, layout);

    auto start = start_protected(ram);
    start.rip = entry;
    start.rax = magic_in_eax;
    start.rbx = low_memory::parameters;
    start.kernel_base = begin;
    start.initrd_base = module.address;
    return {LoadError::none, start};
}

}  // namespace margay::vmm

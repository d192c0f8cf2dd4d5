#include "servers/vmm/loader/linux_loader.hpp"

#include "proto/kernel.hpp"
#include "servers/vmm/loader/linux_header.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/low_memory.hpp"
#include "servers/vmm/loader/memory_map.hpp"
#include "servers/vmm/loader/ram_layout.hpp"

#include <algorithm>
#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::uint64_t mebibyte = 0x10'0000;
constexpr std::uint8_t unknown_loader = 0xff;

// Where kernels before protocol 2.02 look for their command line.
constexpr std::uint64_t old_line_base = 0x9'0000;
constexpr std::uint16_t old_line_offset = 0x8000;
constexpr std::uint16_t old_line_magic = 0xa33f;

struct Placement {
    LoadError error;
    std::uint64_t kernel;
    std::uint64_t initrd;  ///< 0: none
};

/// Where kernel and initrd go; `low` is the size of RAM at 0.
Placement place(const LinuxHeader& header, const GuestImage& image, std::uint64_t low) {
    // A relocatable kernel unpacks itself at its preferred address or above, never below.
    auto base = header.preferred_address;
    if (header.relocatable && base < RamLayout::low_limit) {
        base = align_up(std::max(base, mebibyte), header.alignment);
    }
    if (base < mebibyte || base >= low || header.init_size > low - base) {
        return {LoadError::kernel_does_not_fit, 0, 0};
    }
    if (image.initrd.empty()) {
        return {LoadError::none, base, 0};
    }
    const auto kernel_end = align_up(base + header.init_size, page_size);
    const auto limit = std::min(low, header.initrd_limit + 1);
    const auto size = image.initrd.size();
    if (limit < kernel_end || size > limit - kernel_end || size > 0xffff'ffffU) {
        return {LoadError::initrd_does_not_fit, 0, 0};
    }
    const auto initrd = (limit - size) & ~(page_size - 1);
    if (initrd < kernel_end) {
        return {LoadError::initrd_does_not_fit, 0, 0};
    }
    return {LoadError::none, base, initrd};
}

void write_memory_map(std::span<std::byte> parameters, const RamLayout& layout) {
    namespace at = linux_offset;
    const MemoryMap map{layout};
    auto entry = at::e820_table;
    for (const auto& range : map) {
        store_at<std::uint64_t>(parameters, entry, range.start);
        store_at<std::uint64_t>(parameters, entry + 8, range.end - range.start);
        store_at<std::uint32_t>(parameters, entry + 16, static_cast<std::uint32_t>(range.type));
        entry += 20;
    }
    store_at<std::uint8_t>(parameters, at::e820_entries, map.size());
    // For kernels that know no map.
    const auto extended = (layout.low - mebibyte) / 1024;
    store_at<std::uint16_t>(parameters, at::extended_memory,
                            static_cast<std::uint16_t>(std::min<std::uint64_t>(extended, 0xfc00)));
    store_at<std::uint32_t>(parameters, at::alternative_memory,
                            static_cast<std::uint32_t>(extended));
}

void write_parameters(std::span<std::byte> ram, const RamLayout& layout, const LinuxHeader& header,
                      const GuestImage& image, const Placement& where) {
    namespace at = linux_offset;
    const auto parameters = ram.subspan(low_memory::parameters, at::boot_parameters);
    std::memset(parameters.data(), 0, parameters.size());
    std::memcpy(parameters.data() + at::setup_sectors, image.kernel.data() + at::setup_sectors,
                header.header_end - at::setup_sectors);
    write_memory_map(parameters, layout);
    store_at<std::uint8_t>(parameters, at::loader_type, unknown_loader);
    store_at<std::uint32_t>(parameters, at::initrd_address,
                            static_cast<std::uint32_t>(where.initrd));
    store_at<std::uint32_t>(parameters, at::initrd_size,
                            where.initrd == 0 ? 0
                                              : static_cast<std::uint32_t>(image.initrd.size()));
    if (header.version >= 0x0202) {
        store_at<std::uint32_t>(parameters, at::command_line, low_memory::command_line);
    } else {
        store_at<std::uint16_t>(parameters, at::old_line_magic, old_line_magic);
        store_at<std::uint16_t>(parameters, at::old_line_offset, old_line_offset);
    }
    if (header.version >= 0x0209) {
        store_at<std::uint64_t>(parameters, at::setup_data, 0);
    }
    store_at<std::uint64_t>(parameters, at::rsdp, image.rsdp);
}

}  // namespace

LoadResult load_linux(std::span<std::byte> ram, const GuestImage& image) noexcept {
    const auto layout = RamLayout::make(ram.size());
    if (layout.low < 2 * mebibyte) {
        return {LoadError::ram_too_small, {}};
    }
    const auto header = parse_linux_header(image.kernel);
    if (header.error != LoadError::none) {
        return {header.error, {}};
    }
    if (image.command_line.size() >
        std::min(header.command_line_size, low_memory::command_line_room - 1)) {
        return {LoadError::command_line_too_long, {}};
    }
    const auto where = place(header, image, layout.low);
    if (where.error != LoadError::none) {
        return {where.error, {}};
    }

    // From here on nothing fails.
    move_in(ram.subspan(where.kernel), image.kernel.subspan(header.code_offset, header.code_size),
            image.placed);
    if (where.initrd != 0) {
        move_in(ram.subspan(where.initrd), image.initrd, image.placed);
    }
    write_text(
        ram, header.version >= 0x0202 ? low_memory::command_line : old_line_base + old_line_offset,
        image.command_line);
    write_parameters(ram, layout, header, image, where);

    StartState start = header.has_64bit_entry ? start_long(ram) : start_protected(ram);
    start.rip = where.kernel + (header.has_64bit_entry ? linux_entry_64 : 0);
    start.rsp = low_memory::stack_top;
    start.rsi = low_memory::parameters;
    start.kernel_base = where.kernel;
    start.initrd_base = where.initrd;
    return {LoadError::none, start};
}

}  // namespace margay::vmm

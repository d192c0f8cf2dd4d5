#include "servers/vmm/loader/linux_loader.hpp"

#include "servers/vmm/loader/linux_header.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/ram_layout.hpp"

#include <algorithm>
#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::uint64_t page_size = 0x1000;
constexpr std::uint64_t mebibyte = 0x10'0000;

// What the loader keeps below 1 MiB. Linux frees none of it before it has its own.
constexpr std::uint64_t parameters_base = 0x1'0000;
constexpr std::uint64_t command_line_base = 0x1'1000;
constexpr std::uint64_t command_line_room = 0xf000;
constexpr std::uint64_t page_tables_base = 0x2'0000;  // level 4, level 3, four of level 2
constexpr std::uint64_t gdt_base = 0x3'0000;
constexpr std::uint64_t stack_top = 0x4'0000;
constexpr std::uint64_t low_memory_end = 0x9'fc00;
constexpr std::uint64_t firmware_base = 0xe'0000;

constexpr std::uint64_t present_writable = 0x03;
constexpr std::uint64_t used_large_page = 0xe3;  // present, writable, accessed, dirty, large

constexpr std::uint8_t unknown_loader = 0xff;
constexpr std::size_t entry_64 = 0x200;

enum class MemoryType : std::uint32_t { ram = 1, reserved = 2 };

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

void write_page_tables(std::span<std::byte> ram) {
    std::memset(ram.data() + page_tables_base, 0, 6 * page_size);
    const auto level3 = page_tables_base + page_size;
    const auto level2 = level3 + page_size;
    store_at<std::uint64_t>(ram, page_tables_base, level3 | present_writable);
    for (std::uint64_t i = 0; i < 4; ++i) {
        store_at<std::uint64_t>(ram, level3 + 8 * i, (level2 + i * page_size) | present_writable);
    }
    for (std::uint64_t i = 0; i < 4 * 512; ++i) {
        store_at<std::uint64_t>(ram, level2 + 8 * i, i << 21 | used_large_page);
    }
}

constexpr std::uint16_t code_selector = 0x10;
constexpr std::uint16_t data_selector = 0x18;
constexpr std::uint16_t task_selector = 0x20;
constexpr std::uint64_t gdt[] = {
    0, 0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff, 0x0000'8b00'0000'0067, 0,
};

class MemoryMap {
  public:
    explicit MemoryMap(std::span<std::byte> parameters) : parameters_{parameters} {}

    void add(std::uint64_t start, std::uint64_t end, MemoryType type) {
        if (start >= end) {
            return;
        }
        const auto at = linux_offset::e820_table + 20U * count_;
        store_at<std::uint64_t>(parameters_, at, start);
        store_at<std::uint64_t>(parameters_, at + 8, end - start);
        store_at<std::uint32_t>(parameters_, at + 16, static_cast<std::uint32_t>(type));
        store_at<std::uint8_t>(parameters_, linux_offset::e820_entries, ++count_);
    }

  private:
    std::span<std::byte> parameters_;
    std::uint8_t count_ = 0;
};

struct Placement {
    LoadError error;
    std::uint64_t kernel;
    std::uint64_t initrd;  ///< 0: none
};

/// Where kernel and initrd go; `low` is the size of RAM at 0.
Placement place(const LinuxHeader& header, const LinuxImage& image, std::uint64_t low) {
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

void write_parameters(std::span<std::byte> ram, const RamLayout& layout, const LinuxHeader& header,
                      const LinuxImage& image, const Placement& where) {
    namespace at = linux_offset;
    const auto parameters = ram.subspan(parameters_base, at::boot_parameters);
    std::memset(parameters.data(), 0, parameters.size());
    std::memcpy(parameters.data() + at::setup_sectors, image.kernel.data() + at::setup_sectors,
                header.header_end - at::setup_sectors);
    store_at<std::uint8_t>(parameters, at::loader_type, unknown_loader);
    store_at<std::uint32_t>(parameters, at::command_line, command_line_base);
    store_at<std::uint32_t>(parameters, at::initrd_address,
                            static_cast<std::uint32_t>(where.initrd));
    store_at<std::uint32_t>(parameters, at::initrd_size,
                            where.initrd == 0 ? 0
                                              : static_cast<std::uint32_t>(image.initrd.size()));
    store_at<std::uint64_t>(parameters, at::setup_data, 0);
    store_at<std::uint64_t>(parameters, at::rsdp, image.rsdp);

    MemoryMap map{parameters};
    map.add(0, low_memory_end, MemoryType::ram);
    map.add(firmware_base, mebibyte, MemoryType::reserved);
    map.add(mebibyte, layout.low & ~(page_size - 1), MemoryType::ram);
    map.add(RamLayout::high_base, (RamLayout::high_base + layout.high) & ~(page_size - 1),
            MemoryType::ram);
}

/// In pieces, between which a supervisor sees that it goes on.
void move_in(std::span<std::byte> to, std::span<const std::byte> from,
             std::atomic<std::uint64_t>* placed) {
    constexpr std::size_t piece = 1 << 20;
    for (std::size_t at = 0; at < from.size(); at += piece) {
        const std::size_t size = std::min(piece, from.size() - at);
        std::memcpy(to.data() + at, from.data() + at, size);
        if (placed != nullptr) {
            placed->fetch_add(size, std::memory_order_relaxed);
        }
    }
}

}  // namespace

LoadResult load_linux(std::span<std::byte> ram, const LinuxImage& image) noexcept {
    const auto layout = RamLayout::make(ram.size());
    if (layout.low < 2 * mebibyte) {
        return {LoadError::ram_too_small, {}};
    }
    const auto header = parse_linux_header(image.kernel);
    if (header.error != LoadError::none) {
        return {header.error, {}};
    }
    if (image.command_line.size() > std::min(header.command_line_size, command_line_room - 1)) {
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
    if (!image.command_line.empty()) {
        std::memcpy(ram.data() + command_line_base, image.command_line.data(),
                    image.command_line.size());
    }
    ram[command_line_base + image.command_line.size()] = std::byte{0};
    write_page_tables(ram);
    std::memcpy(ram.data() + gdt_base, gdt, sizeof(gdt));
    write_parameters(ram, layout, header, image, where);

    StartState start{};
    start.rip = where.kernel + entry_64;
    start.rsp = stack_top;
    start.rsi = parameters_base;
    start.cr0 = 0x8001'0031;  // PG, WP, NE, ET, PE
    start.cr3 = page_tables_base;
    start.cr4 = 0x20;    // PAE
    start.efer = 0x500;  // LMA, LME
    start.gdt_base = gdt_base;
    start.gdt_limit = sizeof(gdt) - 1;
    start.code_selector = code_selector;
    start.data_selector = data_selector;
    start.task_selector = task_selector;
    start.kernel_base = where.kernel;
    start.initrd_base = where.initrd;
    return {LoadError::none, start};
}

}  // namespace margay::vmm

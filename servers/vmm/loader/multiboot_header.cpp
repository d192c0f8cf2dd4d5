#include "servers/vmm/loader/multiboot_header.hpp"

#include "servers/vmm/loader/little_endian.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

namespace multiboot_header {
constexpr std::uint32_t header_magic = 0x1bad'b002;
constexpr std::size_t searched = 8192;
constexpr std::size_t basic_size = 12, size_with_addresses = 32;

// Pages for modules, memory information: always given. Below bit 16 a flag that is not known must be refused.
constexpr std::uint32_t known_requirements = 0x3;
constexpr std::uint32_t video_mode = 0x4;
constexpr std::uint32_t requirements = 0xffff;
constexpr std::uint32_t has_addresses = 0x1'0000;

constexpr std::size_t at_flags = 4, at_checksum = 8, at_header = 12, at_load = 16, at_load_end = 20,
                      at_bss_end = 24, at_entry = 28;
}  // namespace multiboot_header

}  // namespace

MultibootPlace find_multiboot_header(std::span<const std::byte> kernel) noexcept {
    using namespace multiboot_header;
    const auto end = std::min(kernel.size(), searched);
    MultibootPlace place{MultibootFound::nothing, 0};
    for (std::size_t at = 0; at + basic_size <= end; at += 4) {
        if (load_at<std::uint32_t>(kernel, at) != header_magic) {
            continue;
        }
        const auto sum = header_magic + load_at<std::uint32_t>(kernel, at + at_flags) +
                         load_at<std::uint32_t>(kernel, at + at_checksum);
        if (sum == 0) {
            return {MultibootFound::header, at};
        }
        place = {MultibootFound::bad_checksum, at};
    }
    return place;
}

MultibootHeader parse_multiboot_header(std::span<const std::byte> kernel,
                                       std::size_t offset) noexcept {
    using namespace multiboot_header;
    MultibootHeader header{};
    const auto fail = [&header](LoadError error) {
        header.error = error;
        return header;
    };
    const auto word = [kernel, offset](std::size_t at) -> std::uint64_t {
        return load_at<std::uint32_t>(kernel, offset + at);
    };
    const auto flags = static_cast<std::uint32_t>(word(at_flags));
    if ((flags & video_mode) != 0) {
        return fail(LoadError::multiboot_needs_video);
    }
    if ((flags & requirements & ~known_requirements) != 0) {
        return fail(LoadError::multiboot_unknown_flags);
    }
    header.has_addresses = (flags & has_addresses) != 0;
    header.error = LoadError::none;
    if (!header.has_addresses) {
        return header;
    }
    if (offset + size_with_addresses > std::min(kernel.size(), searched)) {
        return fail(LoadError::multiboot_truncated);
    }
    const auto own = word(at_header), load = word(at_load), load_end = word(at_load_end),
               bss_end = word(at_bss_end);
    header.entry = word(at_entry);
    if (own < load || own - load > offset) {
        return fail(LoadError::multiboot_bad_addresses);
    }
    header.code_offset = offset - (own - load);
    header.load_address = load;
    const auto available = kernel.size() - header.code_offset;
    // 0: all that the file has, and no BSS.
    header.load_size = load_end == 0 ? available : load_end - load;
    header.size = bss_end == 0 ? header.load_size : bss_end - load;
    if ((load_end != 0 && load_end <= load) ||
        (bss_end != 0 && bss_end < load + header.load_size) || header.entry < load ||
        header.entry - load >= header.load_size) {
        return fail(LoadError::multiboot_bad_addresses);
    }
    if (header.load_size > available) {
        return fail(LoadError::multiboot_truncated);
    }
    return header;
}

}  // namespace margay::vmm

#include "servers/vmm/loader/linux_header.hpp"

#include "servers/vmm/loader/little_endian.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

constexpr std::uint16_t boot_flag = 0xaa55;
constexpr std::uint32_t magic = 0x5372'6448;  // "HdrS"
constexpr std::uint16_t oldest_version = 0x0200;
constexpr std::uint8_t loaded_high = 0x01;
constexpr std::uint16_t kernel_64 = 0x0001;
constexpr std::size_t sector = 512;
constexpr std::uint64_t high_address = 0x10'0000;

// What older protocols leave unsaid (Linux Documentation/x86/boot.rst).
constexpr std::uint64_t old_initrd_limit = 0x37ff'ffff;
constexpr std::uint64_t old_command_line_size = 255;

/// Where the header of a protocol version ends at least.
constexpr std::size_t end_for(std::uint16_t version) {
    namespace at = linux_offset;
    if (version >= 0x020a) {
        return at::init_size + 4;
    }
    if (version >= 0x0209) {
        return at::setup_data + 8;
    }
    if (version >= 0x0206) {
        return at::command_line_size + 4;
    }
    if (version >= 0x0205) {
        return at::relocatable + 1;
    }
    if (version >= 0x0203) {
        return at::initrd_limit + 4;
    }
    return version >= 0x0202 ? at::command_line + 4 : at::initrd_size + 4;
}

}  // namespace

bool has_linux_header(std::span<const std::byte> kernel) noexcept {
    namespace at = linux_offset;
    return kernel.size() >= at::version &&
           load_at<std::uint16_t>(kernel, at::boot_flag) == boot_flag &&
           load_at<std::uint32_t>(kernel, at::magic) == magic;
}

LinuxHeader parse_linux_header(std::span<const std::byte> kernel) noexcept {
    namespace at = linux_offset;
    LinuxHeader header{};
    const auto fail = [&header](LoadError error) {
        header.error = error;
        return header;
    };
    if (kernel.size() < at::header_limit) {
        return fail(LoadError::kernel_too_short);
    }
    if (load_at<std::uint16_t>(kernel, at::boot_flag) != boot_flag) {
        return fail(LoadError::bad_boot_flag);
    }
    if (load_at<std::uint32_t>(kernel, at::magic) != magic) {
        return fail(LoadError::bad_magic);
    }
    const auto version = load_at<std::uint16_t>(kernel, at::version);
    if (version < oldest_version) {
        return fail(LoadError::protocol_too_old);
    }
    const auto end = at::magic + load_at<std::uint8_t>(kernel, at::header_length);
    if (end < end_for(version)) {
        return fail(LoadError::short_header);
    }
    if ((load_at<std::uint8_t>(kernel, at::load_flags) & loaded_high) == 0) {
        return fail(LoadError::not_bzimage);
    }
    header.version = version;
    header.header_end = std::min(end, at::header_limit);
    header.has_64bit_entry =
        version >= 0x020c &&
        (load_at<std::uint16_t>(kernel, at::extended_load_flags) & kernel_64) != 0;

    // 0 setup sectors means 4, for old kernels; the boot sector comes before them.
    const std::size_t sectors = load_at<std::uint8_t>(kernel, at::setup_sectors);
    header.code_offset = ((sectors == 0 ? 4 : sectors) + 1) * sector;
    if (header.code_offset >= kernel.size()) {
        return fail(LoadError::bad_setup_size);
    }
    const auto available = kernel.size() - header.code_offset;
    const auto paragraphs = version >= 0x0204 ? load_at<std::uint32_t>(kernel, at::size_paragraphs)
                                              : load_at<std::uint16_t>(kernel, at::size_paragraphs);
    // Sixteen bits do not hold the size of a large kernel: it is then the rest of the file.
    const auto declared = version >= 0x0204 ? std::uint64_t{paragraphs} * 16 : available;
    const auto least = header.has_64bit_entry ? linux_entry_64 : 0;
    // The last paragraph may be incomplete; behind it there may be a signature.
    if (declared <= least || available <= least || available + 15 < declared) {
        return fail(LoadError::truncated);
    }
    header.code_size = std::min<std::uint64_t>(available, declared);

    header.relocatable = version >= 0x0205 && load_at<std::uint8_t>(kernel, at::relocatable) != 0;
    header.alignment = header.relocatable ? load_at<std::uint32_t>(kernel, at::alignment) : 0x1000;
    if (header.alignment < 0x1000 || (header.alignment & (header.alignment - 1)) != 0 ||
        header.alignment > 0x4000'0000) {
        return fail(LoadError::bad_alignment);
    }
    header.preferred_address = high_address;
    header.init_size = header.code_size;
    if (version >= 0x020a) {
        header.init_size = load_at<std::uint32_t>(kernel, at::init_size);
        header.preferred_address = load_at<std::uint64_t>(kernel, at::preferred_address);
    }
    if (header.init_size < header.code_size) {
        return fail(LoadError::bad_init_size);
    }
    header.initrd_limit =
        version >= 0x0203 ? load_at<std::uint32_t>(kernel, at::initrd_limit) : old_initrd_limit;
    header.command_line_size = version >= 0x0206
                                   ? load_at<std::uint32_t>(kernel, at::command_line_size)
                                   : old_command_line_size;
    header.error = LoadError::none;
    return header;
}

}  // namespace margay::vmm

#include "servers/vmm/loader/linux_header.hpp"

#include "servers/vmm/loader/little_endian.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

constexpr std::uint16_t boot_flag = 0xaa55;
constexpr std::uint32_t magic = 0x5372'6448;  // "HdrS"
constexpr std::uint16_t oldest_version = 0x020c;
constexpr std::uint8_t loaded_high = 0x01;
constexpr std::uint16_t kernel_64 = 0x0001;
constexpr std::size_t sector = 512;
constexpr std::size_t entry_64 = 0x200;

}  // namespace

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
    const auto end = at::magic + load_at<std::uint8_t>(kernel, at::header_length);
    if (load_at<std::uint16_t>(kernel, at::version) < oldest_version || end < at::header_end) {
        return fail(LoadError::protocol_too_old);
    }
    if ((load_at<std::uint8_t>(kernel, at::load_flags) & loaded_high) == 0) {
        return fail(LoadError::not_bzimage);
    }
    if ((load_at<std::uint16_t>(kernel, at::extended_load_flags) & kernel_64) == 0) {
        return fail(LoadError::no_64bit_entry);
    }
    header.header_end = std::min(end, at::header_limit);

    // 0 setup sectors means 4, for old kernels; the boot sector comes before them.
    const std::size_t sectors = load_at<std::uint8_t>(kernel, at::setup_sectors);
    header.code_offset = ((sectors == 0 ? 4 : sectors) + 1) * sector;
    if (header.code_offset >= kernel.size()) {
        return fail(LoadError::bad_setup_size);
    }
    const auto available = kernel.size() - header.code_offset;
    const auto declared = std::uint64_t{load_at<std::uint32_t>(kernel, at::size_paragraphs)} * 16;
    // The last paragraph may be incomplete; behind it there may be a signature.
    if (declared <= entry_64 || available <= entry_64 || available + 15 < declared) {
        return fail(LoadError::truncated);
    }
    header.code_size = std::min<std::uint64_t>(available, declared);

    header.alignment = load_at<std::uint32_t>(kernel, at::alignment);
    if (header.alignment < 0x1000 || (header.alignment & (header.alignment - 1)) != 0 ||
        header.alignment > 0x4000'0000) {
        return fail(LoadError::bad_alignment);
    }
    header.init_size = load_at<std::uint32_t>(kernel, at::init_size);
    if (header.init_size < header.code_size) {
        return fail(LoadError::bad_init_size);
    }
    header.preferred_address = load_at<std::uint64_t>(kernel, at::preferred_address);
    header.relocatable = load_at<std::uint8_t>(kernel, at::relocatable) != 0;
    header.initrd_limit = load_at<std::uint32_t>(kernel, at::initrd_limit);
    header.command_line_size = load_at<std::uint32_t>(kernel, at::command_line_size);
    header.error = LoadError::none;
    return header;
}

}  // namespace margay::vmm

#include "servers/vmm/loader/load_image.hpp"

#include "servers/vmm/loader/elf_image.hpp"
#include "servers/vmm/loader/linux_header.hpp"
#include "servers/vmm/loader/linux_loader.hpp"
#include "servers/vmm/loader/low_memory.hpp"
#include "servers/vmm/loader/multiboot_header.hpp"
#include "servers/vmm/loader/multiboot_loader.hpp"
#include "servers/vmm/loader/pvh_loader.hpp"

namespace margay::vmm {

BootProtocol protocol_of(std::span<const std::byte> kernel) noexcept {
    if (has_linux_header(kernel)) {
        return BootProtocol::linux;
    }
    if (find_multiboot_header(kernel).found == MultibootFound::header) {
        return BootProtocol::multiboot;
    }
    return is_elf(kernel) ? BootProtocol::pvh : BootProtocol::unknown;
}

namespace {

LoadResult load_by_protocol(std::span<std::byte> ram, const GuestImage& image) {
    switch (protocol_of(image.kernel)) {
    case BootProtocol::linux: return load_linux(ram, image);
    case BootProtocol::multiboot: return load_multiboot(ram, image);
    case BootProtocol::pvh: return load_pvh(ram, image);
    case BootProtocol::unknown: break;
    }
    const auto almost = find_multiboot_header(image.kernel).found == MultibootFound::bad_checksum;
    return {almost ? LoadError::bad_multiboot_checksum : LoadError::unknown_protocol, {}};
}

}  // namespace

LoadResult load_image(std::span<std::byte> ram, const GuestImage& image) noexcept {
    const auto result = load_by_protocol(ram, image);
    if (result.error == LoadError::none) {
        write_bios_data(ram);
    }
    return result;
}

}  // namespace margay::vmm

#include "servers/vmm/loader/load_error.hpp"

namespace margay::vmm {

std::string_view to_text(LoadError error) noexcept {
    switch (error) {
    case LoadError::none: return "loaded";
    case LoadError::kernel_too_short: return "the kernel file is shorter than a Linux boot header";
    case LoadError::bad_boot_flag:
        return "the kernel file has no boot flag 0xaa55: it is no Linux bzImage";
    case LoadError::bad_magic:
        return "the kernel file has no \"HdrS\" magic: it is no Linux bzImage";
    case LoadError::protocol_too_old: return "the kernel's boot protocol is older than 2.12";
    case LoadError::not_bzimage: return "the kernel is a zImage that loads low, not a bzImage";
    case LoadError::no_64bit_entry:
        return "the kernel has no 64-bit entry point: it is a 32-bit kernel";
    case LoadError::bad_setup_size: return "the kernel's setup part is longer than its file";
    case LoadError::truncated: return "the kernel file is shorter than its header says: truncated";
    case LoadError::bad_alignment:
        return "the kernel's alignment is no power of two from 4 KiB to 1 GiB";
    case LoadError::bad_init_size: return "the kernel says it needs less memory than it is long";
    case LoadError::command_line_too_long:
        return "the command line is longer than the kernel accepts";
    case LoadError::kernel_does_not_fit: return "the kernel does not fit into the guest's memory";
    case LoadError::initrd_does_not_fit:
        return "the initrd does not fit into the guest's memory beside the kernel";
    case LoadError::ram_too_small: return "the guest has less than 2 MiB of memory";
    }
    return "unknown error";
}

}  // namespace margay::vmm

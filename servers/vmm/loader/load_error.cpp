#include "servers/vmm/loader/load_error.hpp"

namespace margay::vmm {

std::string_view to_text(LoadError error) noexcept {
    switch (error) {
    case LoadError::none: return "loaded";
    case LoadError::unknown_protocol:
        return "the kernel file is no Linux bzImage, has no Multiboot header and is no ELF file";
    case LoadError::kernel_too_short: return "the kernel file is shorter than a Linux boot header";
    case LoadError::bad_boot_flag:
        return "the kernel file has no boot flag 0xaa55: it is no Linux bzImage";
    case LoadError::bad_magic:
        return "the kernel file has no \"HdrS\" magic: it is no Linux bzImage";
    case LoadError::protocol_too_old: return "the kernel's boot protocol is older than 2.00";
    case LoadError::short_header:
        return "the kernel's boot header is shorter than its protocol says";
    case LoadError::not_bzimage: return "the kernel is a zImage that loads low, not a bzImage";
    case LoadError::bad_setup_size: return "the kernel's setup part is longer than its file";
    case LoadError::truncated: return "the kernel file is shorter than its header says: truncated";
    case LoadError::bad_alignment:
        return "the kernel's alignment is no power of two from 4 KiB to 1 GiB";
    case LoadError::bad_init_size: return "the kernel says it needs less memory than it is long";
    case LoadError::command_line_too_long:
        return "the command line is longer than the kernel accepts";
    case LoadError::kernel_too_low: return "the kernel wants to be loaded below 1 MiB";
    case LoadError::kernel_does_not_fit: return "the kernel does not fit into the guest's memory";
    case LoadError::initrd_does_not_fit:
        return "the initrd does not fit into the guest's memory beside the kernel";
    case LoadError::ram_too_small: return "the guest has less than 2 MiB of memory";
    case LoadError::bad_entry: return "the kernel's entry point is not in what is loaded of it";
    case LoadError::bad_multiboot_checksum:
        return "the kernel's Multiboot header has a wrong checksum";
    case LoadError::multiboot_unknown_flags:
        return "the kernel's Multiboot header requires what no one knows (flags 3 to 15)";
    case LoadError::multiboot_needs_video:
        return "the kernel's Multiboot header requires a video mode: there is none";
    case LoadError::multiboot_truncated:
        return "the kernel file is shorter than its Multiboot header says: truncated";
    case LoadError::multiboot_bad_addresses:
        return "the addresses in the kernel's Multiboot header contradict each other";
    case LoadError::multiboot_no_addresses:
        return "the kernel's Multiboot header has no addresses, and the file is no ELF file";
    case LoadError::elf_truncated: return "the ELF file is shorter than its headers say: truncated";
    case LoadError::elf_not_for_x86: return "the ELF file is no program for x86";
    case LoadError::elf_bad_segment:
        return "the ELF file has a segment beyond 4 GiB or longer than its memory";
    case LoadError::elf_no_segments: return "the ELF file has nothing to load";
    case LoadError::no_pvh_note:
        return "the ELF file has neither a Multiboot header nor a PVH note";
    case LoadError::bad_pvh_note: return "the ELF file's notes are malformed";
    }
    return "unknown error";
}

}  // namespace margay::vmm

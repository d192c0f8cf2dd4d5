// ELF64 executables: just the header fields that loading a static image needs (System V ABI).
#pragma once
#include <cstdint>
#include <cstring>

#include "proto/symbols.hpp"

namespace margay {

struct ElfHeader {
    std::uint8_t ident[16];
    std::uint16_t type, machine;
    std::uint32_t version;
    std::uint64_t entry, program_headers, section_headers;
    std::uint32_t flags;
    std::uint16_t header_size, program_header_size, program_header_count;
    std::uint16_t section_header_size, section_header_count, section_names;
};
struct ElfSegment {
    std::uint32_t type, flags;  // type 1: load; flags 1: X, 2: W, 4: R
    std::uint64_t offset, address, physical, file_size, memory_size, alignment;
};
static_assert(sizeof(ElfHeader) == 64 && sizeof(ElfSegment) == 56);

// Whether `size` bytes at `image` are a static x86-64 executable whose load segments lie within the
// file, are page-aligned, inside [lowest, highest) and not both writable and executable.
inline const char* check_elf(const std::uint8_t* image, std::uint64_t size, std::uint64_t lowest,
                             std::uint64_t highest) {
    if (size < sizeof(ElfHeader)) return "shorter than an ELF header";
    const auto& h = *reinterpret_cast<const ElfHeader*>(image);
    if (h.ident[0] != 0x7f || h.ident[1] != 'E' || h.ident[2] != 'L' || h.ident[3] != 'F')
        return "not an ELF file";
    if (h.ident[4] != 2 || h.ident[5] != 1 || h.type != 2 || h.machine != 62)
        return "not a static x86-64 executable";
    if (h.program_header_size != sizeof(ElfSegment) || h.program_header_count == 0 ||
        h.program_header_count > 16 || h.program_headers > size ||
        h.program_header_count * sizeof(ElfSegment) > size - h.program_headers ||
        h.program_headers % 8)
        return "bad program headers";
    const auto* s = reinterpret_cast<const ElfSegment*>(image + h.program_headers);
    for (unsigned i = 0; i < h.program_header_count; ++i, ++s) {
        if (s->type != 1 || s->memory_size == 0) continue;
        if (s->offset > size || s->file_size > size - s->offset || s->file_size > s->memory_size)
            return "a segment lies outside the file";
        if (s->address % 4096 != 0 || s->address < lowest || s->address >= highest ||
            s->memory_size > highest - s->address)
            return "a segment lies outside the address space";
        if ((s->flags & 3) == 3) return "a segment is writable and executable";
    }
    if (h.entry < lowest || h.entry >= highest)
        return "the entry point is outside the address space";
    return nullptr;
}

// Address of the symbol table in a segment of constants, 0 if it has none. It is known by its magic
// number and by a base inside [lowest, highest). `image` was checked.
inline std::uint64_t find_symbols(const ElfSegment& s, const std::uint8_t* image,
                                  std::uint64_t lowest, std::uint64_t highest) {
    if ((s.flags & 3) != 0) return 0;
    for (std::uint64_t at = 0; at + sizeof(SymbolTable) <= s.file_size; at += symbols_alignment) {
        SymbolTable t;
        std::memcpy(&t, image + s.offset + at, sizeof(t));
        if (t.magic == symbols_magic && t.base >= lowest && t.base < highest) return s.address + at;
    }
    return 0;
}

}  // namespace margay

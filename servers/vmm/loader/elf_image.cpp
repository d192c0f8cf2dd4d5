#include "servers/vmm/loader/elf_image.hpp"

#include "servers/vmm/loader/little_endian.hpp"
#include "servers/vmm/loader/low_memory.hpp"

#include <algorithm>
#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::uint32_t elf_magic = 0x464c'457f;
constexpr std::uint8_t class_32 = 1, class_64 = 2, little_endian = 1;
constexpr std::uint16_t type_executable = 2, type_shared = 3;
constexpr std::uint16_t machine_386 = 3, machine_x86_64 = 62;
constexpr std::uint32_t segment_load = 1, segment_note = 4;
constexpr std::size_t header_32 = 52, header_64 = 64;
constexpr std::size_t entry_32 = 32, entry_64 = 56;
constexpr std::uint64_t four_gib = 0x1'0000'0000;
constexpr std::uint32_t note_physical_entry = 18;  // Xen's XEN_ELFNOTE_PHYS32_ENTRY

constexpr bool lies_in(std::uint64_t offset, std::uint64_t size, std::uint64_t all) {
    return offset <= all && size <= all - offset;
}

}  // namespace

bool is_elf(std::span<const std::byte> file) noexcept {
    return file.size() >= 4 && load_at<std::uint32_t>(file, 0) == elf_magic;
}

LoadError ElfImage::parse() noexcept {
    const auto file = file_;
    if (!is_elf(file) || file.size() < header_32) {
        return LoadError::elf_truncated;
    }
    const auto elf_class = load_at<std::uint8_t>(file, 4);
    const auto type = load_at<std::uint16_t>(file, 16);
    const auto machine = load_at<std::uint16_t>(file, 18);
    wide_ = elf_class == class_64;
    if ((elf_class != class_32 && !wide_) || load_at<std::uint8_t>(file, 5) != little_endian ||
        (machine != machine_386 && machine != machine_x86_64) ||
        (type != type_executable && type != type_shared)) {
        return LoadError::elf_not_for_x86;
    }
    if (wide_ && file.size() < header_64) {
        return LoadError::elf_truncated;
    }
    entry_ = wide_ ? load_at<std::uint64_t>(file, 24) : load_at<std::uint32_t>(file, 24);
    table_ = wide_ ? load_at<std::uint64_t>(file, 32) : load_at<std::uint32_t>(file, 28);
    entry_size_ = load_at<std::uint16_t>(file, wide_ ? 54 : 42);
    count_ = load_at<std::uint16_t>(file, wide_ ? 56 : 44);
    if (entry_size_ < (wide_ ? entry_64 : entry_32) ||
        !lies_in(table_, std::uint64_t{entry_size_} * count_, file.size())) {
        return LoadError::elf_truncated;
    }
    for (unsigned i = 0; i < count_; ++i) {
        if (const auto error = check_segment(segment(i)); error != LoadError::none) {
            return error;
        }
    }
    if (end_ == 0) {
        return LoadError::elf_no_segments;
    }
    return LoadError::none;
}

ElfImage::Segment ElfImage::segment(unsigned index) const noexcept {
    const auto at = table_ + std::uint64_t{entry_size_} * index;
    const auto word = [this, at](std::size_t offset) {
        return load_at<std::uint32_t>(file_, at + offset);
    };
    const auto wide = [this, at](std::size_t offset) {
        return load_at<std::uint64_t>(file_, at + offset);
    };
    if (wide_) {
        return {word(0), wide(8), wide(16), wide(24), wide(32), wide(40), wide(48)};
    }
    return {word(0), word(4), word(8), word(12), word(16), word(20), word(28)};
}

LoadError ElfImage::check_segment(const Segment& s) noexcept {
    if (s.type == segment_note && !lies_in(s.offset, s.file_size, file_.size())) {
        return LoadError::elf_truncated;
    }
    if (s.type != segment_load || s.size == 0) {
        return LoadError::none;
    }
    if (!lies_in(s.offset, s.file_size, file_.size())) {
        return LoadError::elf_truncated;
    }
    if (s.file_size > s.size || !lies_in(s.address, s.size, four_gib)) {
        return LoadError::elf_bad_segment;
    }
    begin_ = std::min(begin_, s.address);
    end_ = std::max(end_, s.address + s.size);
    return LoadError::none;
}

std::optional<std::uint64_t> ElfImage::entry() const noexcept {
    // Some give the virtual address and some the physical one.
    for (unsigned i = 0; i < count_; ++i) {
        const auto s = segment(i);
        if (s.type == segment_load && entry_ >= s.virtual_address &&
            entry_ - s.virtual_address < s.size) {
            return entry_ - s.virtual_address + s.address;
        }
    }
    return holds(entry_) ? std::optional{entry_} : std::nullopt;
}

bool ElfImage::holds(std::uint64_t address) const noexcept {
    for (unsigned i = 0; i < count_; ++i) {
        const auto s = segment(i);
        if (s.type == segment_load && address >= s.address && address - s.address < s.size) {
            return true;
        }
    }
    return false;
}

LoadError ElfImage::find_pvh_entry(std::uint64_t& entry) const noexcept {
    for (unsigned i = 0; i < count_; ++i) {
        const auto s = segment(i);
        if (s.type != segment_note) {
            continue;
        }
        if (const auto error = find_note(s, entry); error != LoadError::no_pvh_note) {
            return error;
        }
    }
    return LoadError::no_pvh_note;
}

LoadError ElfImage::find_note(const Segment& notes, std::uint64_t& entry) const noexcept {
    const auto all = file_.subspan(notes.offset, notes.file_size);
    const std::uint64_t alignment = notes.alignment == 8 ? 8 : 4;
    for (std::uint64_t at = 0; lies_in(at, 12, all.size());) {
        const auto name_size = load_at<std::uint32_t>(all, at);
        const auto size = load_at<std::uint32_t>(all, at + 4);
        const auto type = load_at<std::uint32_t>(all, at + 8);
        const auto name = at + 12;
        const auto content = align_up(name + name_size, alignment);
        if (!lies_in(name, name_size, all.size()) || !lies_in(content, size, all.size())) {
            return LoadError::bad_pvh_note;
        }
        if (type == note_physical_entry && name_size == 4 &&
            std::memcmp(all.data() + name, "Xen", 4) == 0) {
            if (size != 4 && size != 8) {
                return LoadError::bad_pvh_note;
            }
            entry = size == 4 ? load_at<std::uint32_t>(all, content)
                              : load_at<std::uint64_t>(all, content);
            return LoadError::none;
        }
        at = align_up(content + size, alignment);
    }
    return LoadError::no_pvh_note;
}

void ElfImage::load(std::span<std::byte> ram, std::atomic<std::uint64_t>* placed) const noexcept {
    for (unsigned i = 0; i < count_; ++i) {
        const auto s = segment(i);
        if (s.type != segment_load || s.size == 0) {
            continue;
        }
        move_in(ram.subspan(s.address), file_.subspan(s.offset, s.file_size), placed);
        std::memset(ram.data() + s.address + s.file_size, 0, s.size - s.file_size);
    }
}

}  // namespace margay::vmm

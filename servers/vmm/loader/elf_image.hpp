#pragma once

#include "servers/vmm/loader/guest_image.hpp"

#include <optional>

namespace margay::vmm {

/// An ELF file, of 32 or 64 bits, as a boot loader sees it: what goes to which physical address (System V ABI, ch. 4 and
/// 5).
class ElfImage {
  public:
    /// Checks header and program headers: `error()` says what is wrong.
    explicit ElfImage(std::span<const std::byte> file) noexcept : file_{file}, error_{parse()} {}

    [[nodiscard]] LoadError error() const noexcept { return error_; }
    /// What its segments take, from the first one's beginning to the last one's end: below 4 GiB, begin < end.
    [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
    [[nodiscard]] std::uint64_t end() const noexcept { return end_; }
    /// The entry point's physical address, in a segment.
    [[nodiscard]] std::optional<std::uint64_t> entry() const noexcept;
    /// Whether a physical address is in a segment.
    [[nodiscard]] bool holds(std::uint64_t address) const noexcept;
    /// The entry of Xen's PVH note, or why there is none.
    [[nodiscard]] LoadError find_pvh_entry(std::uint64_t& entry) const noexcept;
    /// Copies the segments and clears what the file does not have of them. RAM reaches to end().
    void load(std::span<std::byte> ram, std::atomic<std::uint64_t>* placed) const noexcept;

  private:
    struct Segment {
        std::uint32_t type;
        std::uint64_t offset, virtual_address, address, file_size, size, alignment;
    };
    [[nodiscard]] LoadError parse() noexcept;
    [[nodiscard]] Segment segment(unsigned index) const noexcept;
    [[nodiscard]] LoadError check_segment(const Segment& s) noexcept;
    [[nodiscard]] LoadError find_note(const Segment& notes, std::uint64_t& entry) const noexcept;

    std::span<const std::byte> file_;
    bool wide_ = false;
    std::uint64_t entry_ = 0, table_ = 0;
    std::uint32_t entry_size_ = 0;
    unsigned count_ = 0;
    std::uint64_t begin_ = ~0ULL, end_ = 0;
    LoadError error_;  // last: parse() fills the others
};

[[nodiscard]] bool is_elf(std::span<const std::byte> file) noexcept;

}  // namespace margay::vmm

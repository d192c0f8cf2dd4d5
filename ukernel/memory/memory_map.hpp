// Physical memory as firmware describes it, brought in order: sorted, disjoint, whole pages. Firmware's
// own list may be unsorted, overlap itself and cut pages in two (ACPI 6.4 §15). Pure logic.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

// In rising order: what is said twice is the latter.
enum class RamKind : std::uint8_t {
    free,
    firmware,  // ACPI tables and non-volatile storage: not to be written, but to be read
    reserved,  // firmware says that something is there, and not what
};

struct MemoryRange {
    HostPhys begin, end;  // half-open, page-aligned
    RamKind kind;
};

// The list as Multiboot2 (§3.6.8) and E820 have it: base and length (64 bits), type (32 bits), padding.
struct FirmwareMap {
    const std::uint8_t* entries = nullptr;
    std::uint32_t entry_bytes = 24, count = 0;
};

class MemoryMap {
  public:
    static constexpr unsigned capacity = 512;

    // `end`: what the node can address; memory behind it is left out.
    void build(const FirmwareMap& firmware, HostPhys end);

    const MemoryRange* begin() const { return ranges_; }
    const MemoryRange* end() const { return ranges_ + count_; }
    unsigned size() const { return count_; }
    // Whether [begin, end) is free RAM as a whole.
    bool is_free(HostPhys begin, HostPhys end) const;
    // Whether a part of it is.
    bool has_free(HostPhys begin, HostPhys end) const;

    // Bytes of free RAM that are left out: behind the end, or because there are too many ranges.
    std::uint64_t beyond_end() const { return beyond_end_; }
    std::uint64_t without_room() const { return without_room_; }

  private:
    void add(MemoryRange r);

    MemoryRange ranges_[capacity];
    unsigned count_ = 0;
    std::uint64_t beyond_end_ = 0, without_room_ = 0;
};

}  // namespace margay

#include "ukernel/memory/memory_map.hpp"

#include <cstring>

namespace margay {

namespace {

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t last = ~0ull & ~(page - 1);  // no range ends behind it

struct Piece {
    std::uint64_t begin, end;
    RamKind kind;
};

// What is not free has its pages whole: a page that is half firmware's is firmware's.
Piece piece(const FirmwareMap& map, std::uint32_t i) {
    std::uint64_t base, length;
    std::uint32_t type;
    const std::uint8_t* e = map.entries + std::uint64_t{i} * map.entry_bytes;
    std::memcpy(&base, e, 8);
    std::memcpy(&length, e + 8, 8);
    std::memcpy(&type, e + 16, 4);
    Piece p{base, base + length < base ? last : base + length, RamKind::reserved};
    if (type == 1) p.kind = RamKind::free;
    if (type == 3 || type == 4) p.kind = RamKind::firmware;
    if (p.end > last) p.end = last;
    if (p.begin >= p.end) return {0, 0, RamKind::free};
    if (p.kind != RamKind::free) p.begin = align_down(p.begin, page), p.end = align_up(p.end, page);
    return p;
}

}  // namespace

void MemoryMap::add(MemoryRange r) {
    if (r.kind == RamKind::free) {
        const std::uint64_t begin = align_up(r.begin.value(), page);
        const std::uint64_t end = align_down(r.end.value(), page);
        if (begin >= end) return;
        r = {HostPhys{begin}, HostPhys{end}, r.kind};
    }
    if (count_ < capacity)
        ranges_[count_++] = r;
    else if (r.kind == RamKind::free)
        without_room_ += r.end - r.begin;
}

// From one boundary to the next, without a copy of the list: quadratic in its length, which is some
// dozens on most machines and some hundreds on the largest.
void MemoryMap::build(const FirmwareMap& firmware, HostPhys end) {
    count_ = 0;
    beyond_end_ = without_room_ = 0;
    MemoryRange open{};  // begin == end: none
    for (std::uint64_t at = 0; at < last;) {
        std::uint64_t next = last;
        bool covered = false;
        RamKind kind = RamKind::free;
        for (std::uint32_t i = 0; i < firmware.count; ++i) {
            const Piece p = piece(firmware, i);
            if (p.begin > at && p.begin < next) next = p.begin;
            if (p.end > at && p.end < next) next = p.end;
            if (p.begin > at || p.end <= at) continue;
            covered = true;
            if (p.kind > kind) kind = p.kind;
        }
        if (at < end.value() && next > end.value()) next = end.value();
        if (covered && at >= end.value()) {
            if (kind == RamKind::free) beyond_end_ += next - at;
        } else if (covered && open.end == HostPhys{at} && open.begin != open.end &&
                   open.kind == kind) {
            open.end = HostPhys{next};
        } else if (covered) {
            if (open.begin != open.end) add(open);
            open = {HostPhys{at}, HostPhys{next}, kind};
        }
        at = next;
    }
    if (open.begin != open.end) add(open);
}

bool MemoryMap::is_free(HostPhys begin, HostPhys end) const {
    for (const MemoryRange& r : *this)
        if (r.kind == RamKind::free && begin >= r.begin && begin < r.end) return end <= r.end;
    return false;
}

bool MemoryMap::has_free(HostPhys begin, HostPhys end) const {
    for (const MemoryRange& r : *this)
        if (r.kind == RamKind::free && begin < r.end && r.begin < end) return true;
    return false;
}

}  // namespace margay

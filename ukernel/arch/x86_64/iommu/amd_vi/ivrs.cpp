#include "ukernel/arch/x86_64/iommu/amd_vi/ivrs.hpp"

#include <cstring>

#include "support/field.hpp"

namespace margay::iommu {

namespace {

constexpr std::uint32_t first_block = 48, short_header = 24, long_header = 40;

bool is_unit(unsigned type) { return type == 0x10 || type == 0x11 || type == 0x40; }
bool is_reserved(unsigned type) { return type >= 0x20 && type <= 0x22; }

// The blocks behind the table's fixed part: type, flags, length, body. Ends at one that does not fit.
template <typename F>
void for_each_block(const std::uint8_t* table, std::uint32_t length, F f) {
    for (std::uint32_t at = first_block; at + 4 <= length;) {
        const std::uint32_t bytes = field<std::uint16_t>(table, at + 2);
        if (bytes < 4 || bytes > length - at) return;
        f(table[at], table + at, bytes);
        at += bytes;
    }
}

// Bytes of a device entry; 0: one that cannot be skipped.
std::uint32_t entry_bytes(const std::uint8_t* e, std::uint32_t left) {
    if (e[0] < 0x40) return 4;
    if (e[0] < 0x80) return 8;
    // By ACPI hardware id: its length is behind it.
    if (e[0] == 0xf0 && left >= 22) return 22u + e[21];
    return 0;
}

class UnitReader {
  public:
    UnitReader(Ivrs& out, std::uint8_t unit) : out_{out}, unit_{unit} {}

    void read(const std::uint8_t* e, std::uint32_t left) {
        while (left >= 4) {
            const std::uint32_t bytes = entry_bytes(e, left);
            if (bytes == 0 || bytes > left) return;
            entry(e);
            e += bytes;
            left -= bytes;
        }
    }

  private:
    void entry(const std::uint8_t* e) {
        const auto id = field<std::uint16_t>(e, 1);
        switch (e[0]) {
        case 0x01: return add(0, 0xffff, 0, false);
        case 0x02:
        case 0x46: return add(id, id, id, false);
        case 0x42: return add(id, id, field<std::uint16_t>(e, 5), true);
        case 0x03:
        case 0x47: return begin(id, 0, false);
        case 0x43: return begin(id, field<std::uint16_t>(e, 5), true);
        case 0x04:
            if (open_) add(start_.first, id, start_.source, start_.aliased);
            open_ = false;
            return;
        case 0x48: return special(e);
        default: return;  // padding, or what names no PCI function
        }
    }
    void begin(Requester first, Requester source, bool aliased) {
        start_ = {first, 0, source, aliased, unit_};
        open_ = true;
    }
    void add(Requester first, Requester last, Requester source, bool aliased) {
        if (last < first) return;
        if (out_.range_count == Ivrs::max_ranges)
            ++out_.left_out;
        else
            out_.ranges[out_.range_count++] = {first, last, source, aliased, unit_};
    }
    void special(const std::uint8_t* e) {
        constexpr std::uint8_t io_apic = 1, hpet = 2;
        if (e[7] != io_apic && e[7] != hpet) return;
        if (out_.special_count == Ivrs::max_specials)
            ++out_.left_out;
        else
            out_.specials[out_.special_count++] = {field<std::uint16_t>(e, 5), e[4],
                                                   e[7] == io_apic, unit_};
    }

    Ivrs& out_;
    std::uint8_t unit_;
    Ivrs::Range start_{};
    bool open_ = false;
};

void read_reserved(const std::uint8_t* b, std::uint32_t bytes, Ivrs& out) {
    if (bytes < 32) return;
    const auto begin = field<std::uint64_t>(b, 16), size = field<std::uint64_t>(b, 24);
    if (size == 0 || begin + size < begin) return;
    Requester first = field<std::uint16_t>(b, 4), last = first;
    if (b[0] == 0x20) first = 0, last = 0xffff;
    if (b[0] == 0x22) last = field<std::uint16_t>(b, 6);
    // An exclusion range is not translated at all: both.
    constexpr std::uint8_t reads = 1 << 1, writes = 1 << 2, excluded = 1 << 3;
    const std::uint8_t flags = b[1];
    if (out.reserved_count == Ivrs::max_reserved)
        ++out.left_out;
    else
        out.reserved[out.reserved_count++] = {first,
                                              last,
                                              HostPhys{begin},
                                              HostPhys{begin + size},
                                              (flags & (reads | excluded)) != 0,
                                              (flags & (writes | excluded)) != 0};
}

}  // namespace

bool parse_ivrs(const std::uint8_t* table, std::uint32_t length, Ivrs& found) {
    found = {};
    if (length < first_block || std::memcmp(table, "IVRS", 4) != 0) return false;
    found.physical_bits = field<std::uint32_t>(table, 36) >> 8 & 0x7f;
    // Newer firmware describes each unit once more in each newer form: the newest counts.
    unsigned newest[Ivrs::max_units] = {};
    const auto find = [&found](std::uint64_t registers) {
        unsigned i = 0;
        while (i < found.unit_count && found.units[i].registers.value() != registers) ++i;
        return i;
    };
    for_each_block(table, length, [&](unsigned type, const std::uint8_t* b, std::uint32_t bytes) {
        if (is_reserved(type)) return read_reserved(b, bytes, found);
        if (!is_unit(type) || bytes < (type == 0x10 ? short_header : long_header)) return;
        const auto registers = field<std::uint64_t>(b, 8);
        if (field<std::uint16_t>(b, 16) != 0 || registers == 0 || registers % 0x4000 != 0) {
            ++found.left_out;
            return;
        }
        const unsigned i = find(registers);
        if (i == Ivrs::max_units) {
            ++found.left_out;
            return;
        }
        if (i == found.unit_count) ++found.unit_count;
        if (type < newest[i]) return;
        newest[i] = type;
        found.units[i] = {HostPhys{registers}, field<std::uint16_t>(b, 4), b[1]};
    });
    for_each_block(table, length, [&](unsigned type, const std::uint8_t* b, std::uint32_t bytes) {
        if (!is_unit(type)) return;
        const std::uint32_t header = type == 0x10 ? short_header : long_header;
        if (bytes < header || field<std::uint16_t>(b, 16) != 0) return;
        const unsigned i = find(field<std::uint64_t>(b, 8));
        if (i == found.unit_count || newest[i] != type) return;
        UnitReader{found, static_cast<std::uint8_t>(i)}.read(b + header, bytes - header);
    });
    return found.unit_count != 0;
}

const Ivrs::Range* Ivrs::range_of(Requester r) const {
    for (unsigned i = range_count; i != 0; --i)
        if (r >= ranges[i - 1].first && r <= ranges[i - 1].last) return &ranges[i - 1];
    return nullptr;
}

const Ivrs::Reserved* Ivrs::reserved_of(Requester r) const {
    for (unsigned i = 0; i < reserved_count; ++i)
        if (r >= reserved[i].first && r <= reserved[i].last) return &reserved[i];
    return nullptr;
}

}  // namespace margay::iommu

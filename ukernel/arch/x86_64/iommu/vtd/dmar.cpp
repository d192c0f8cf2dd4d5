#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"

#include <cstring>

#include "support/field.hpp"

namespace margay::iommu {

namespace {

constexpr std::uint32_t page = 4096;
constexpr std::uint32_t first_structure = 48, unit_header = 16, reserved_header = 24,
                        scope_header = 6;
constexpr unsigned type_unit = 0, type_reserved = 1;

// The structures behind the table's fixed part: type, length, body. Ends at one that does not fit.
template <typename F>
void for_each_structure(const std::uint8_t* table, std::uint32_t length, F f) {
    for (std::uint32_t at = first_structure; at + 4 <= length;) {
        const std::uint32_t bytes = field<std::uint16_t>(table, at + 2);
        if (bytes < 4 || bytes > length - at) return;
        f(field<std::uint16_t>(table, at), table + at, bytes);
        at += bytes;
    }
}

// Without the stack's help: it is small, and this is not.
void clear(Dmar& d) {
    d.unit_count = d.scope_count = d.reserved_count = d.reserved_scope_count = 0;
    d.catch_all = Dmar::no_unit;
    d.physical_bits = d.left_out = 0;
    d.remaps_interrupts = d.opts_out_of_x2apic = false;
}

class Reader {
  public:
    explicit Reader(Dmar& out) : out_{out} {}

    void read(unsigned type, const std::uint8_t* s, std::uint32_t bytes) {
        if (type == type_unit && bytes >= unit_header) read_unit(s, bytes);
        if (type == type_reserved && bytes >= reserved_header) read_reserved(s, bytes);
    }
    void finish() {
        if (lost_unit_) out_.catch_all = Dmar::no_unit;
    }

  private:
    void read_unit(const std::uint8_t* s, std::uint32_t bytes) {
        if (field<std::uint16_t>(s, 6) != 0) {
            ++out_.left_out;
            return;
        }
        const std::uint8_t unit = add_unit(s);
        if (unit == Dmar::no_unit) {
            lost_unit_ = true;
            ++out_.left_out;
        }
        // Whose unit is left out must not be taken for somebody else's.
        read_scopes(s + unit_header, bytes - unit_header, [&](Dmar::Scope scope) {
            scope.owner = unit;
            add(scope, out_.scopes, out_.scope_count, Dmar::max_scopes);
        });
    }
    // The unit's number; no_unit: it is left out.
    std::uint8_t add_unit(const std::uint8_t* s) {
        const auto registers = field<std::uint64_t>(s, 8);
        const auto pages = static_cast<std::uint16_t>(1u << (s[5] & 0xf));
        const bool covers_others = (s[4] & 1) != 0;
        if (registers == 0 || registers % page != 0) return Dmar::no_unit;
        unsigned i = 0;
        while (i < out_.unit_count && out_.units[i].registers.value() != registers) ++i;
        if (i == Dmar::max_units) return Dmar::no_unit;
        // One that is described in pieces is one.
        if (i == out_.unit_count) out_.units[out_.unit_count++] = {HostPhys{registers}, 0, false};
        Dmar::Unit& u = out_.units[i];
        if (u.pages < pages) u.pages = pages;
        if (covers_others) u.covers_others = true;
        if (covers_others && out_.catch_all == Dmar::no_unit)
            out_.catch_all = static_cast<std::uint8_t>(i);
        return static_cast<std::uint8_t>(i);
    }

    void read_reserved(const std::uint8_t* s, std::uint32_t bytes) {
        const auto first = field<std::uint64_t>(s, 8), last = field<std::uint64_t>(s, 16);
        // The last byte is named, not the first one behind it.
        const std::uint64_t end = align_down(last, page) + page;
        if (field<std::uint16_t>(s, 6) != 0 || last < first || end == 0 ||
            out_.reserved_count == Dmar::max_reserved) {
            ++out_.left_out;
            return;
        }
        const auto owner = static_cast<std::uint8_t>(out_.reserved_count++);
        out_.reserved[owner] = {HostPhys{align_down(first, page)}, HostPhys{end}};
        read_scopes(s + reserved_header, bytes - reserved_header, [&](Dmar::Scope scope) {
            scope.owner = owner;
            if (scope.kind == Dmar::Kind::endpoint || scope.kind == Dmar::Kind::bridge)
                add(scope, out_.reserved_scopes, out_.reserved_scope_count,
                    Dmar::max_reserved_scopes);
        });
    }

    template <typename F>
    void read_scopes(const std::uint8_t* s, std::uint32_t left, F f) {
        while (left >= scope_header) {
            const std::uint32_t bytes = s[1];
            if (bytes < scope_header || bytes > left) return;
            read_scope(s, bytes, f);
            s += bytes;
            left -= bytes;
        }
    }
    template <typename F>
    void read_scope(const std::uint8_t* s, std::uint32_t bytes, F f) {
        if (s[0] < 1 || s[0] > 4) return;
        Dmar::Scope scope{static_cast<Dmar::Kind>(s[0]), 0, s[4], s[5], 0, {}};
        const std::uint32_t hops = (bytes - scope_header) / 2;
        bool is_path = hops >= 1 && hops <= Dmar::max_hops;
        for (std::uint32_t i = 0; is_path && i < hops; ++i) {
            const std::uint8_t device = s[scope_header + 2 * i],
                               function = s[scope_header + 2 * i + 1];
            is_path = device < 32 && function < 8;
            scope.hops[scope.hop_count++] = static_cast<std::uint8_t>(device << 3 | function);
        }
        if (is_path)
            f(scope);
        else
            ++out_.left_out;
    }

    void add(const Dmar::Scope& scope, Dmar::Scope* list, unsigned& count, unsigned most) {
        if (count == most)
            ++out_.left_out;
        else
            list[count++] = scope;
    }

    Dmar& out_;
    bool lost_unit_ = false;
};

}  // namespace

bool parse_dmar(const std::uint8_t* table, std::uint32_t length, Dmar& found) {
    clear(found);
    if (length < first_structure || std::memcmp(table, "DMAR", 4) != 0) return false;
    found.physical_bits = table[36] + 1u;
    found.remaps_interrupts = (table[37] & 1) != 0;
    found.opts_out_of_x2apic = (table[37] & 2) != 0;
    Reader reader{found};
    for_each_structure(table, length,
                       [&reader](unsigned type, const std::uint8_t* s, std::uint32_t bytes) {
                           reader.read(type, s, bytes);
                       });
    reader.finish();
    return found.unit_count != 0;
}

}  // namespace margay::iommu

#include "ukernel/arch/x86_64/iommu/vtd/coverage.hpp"

#include <initializer_list>

namespace margay::iommu {

namespace {

using Kind = Dmar::Kind;

bool is_special_kind(const Dmar::Scope& s) {
    return s.kind == Kind::io_apic || s.kind == Kind::hpet;
}

void add_start_buses(const Dmar::Scope* scopes, unsigned count, BusSet& buses) {
    // What is no function can have a name on a bus that there is not.
    for (unsigned i = 0; i < count; ++i)
        if (!is_special_kind(scopes[i]) || scopes[i].hop_count > 1) buses.add(scopes[i].start_bus);
}

}  // namespace

BusSet start_buses(const Dmar& dmar) {
    BusSet buses;
    add_start_buses(dmar.scopes, dmar.scope_count, buses);
    add_start_buses(dmar.reserved_scopes, dmar.reserved_scope_count, buses);
    return buses;
}

void Coverage::build(const Dmar& dmar, const Hierarchy& hierarchy) {
    dmar_ = &dmar;
    hierarchy_ = &hierarchy;
    special_count_ = left_out_ = 0;
    build_map(units_, dmar.scopes, dmar.scope_count);
    build_map(reserved_, dmar.reserved_scopes, dmar.reserved_scope_count);
    for (unsigned i = 0; i < dmar.scope_count; ++i)
        if (is_special_kind(dmar.scopes[i])) add_special(dmar.scopes[i]);
}

bool Coverage::resolve(const Dmar::Scope& scope, Requester& function) const {
    return hierarchy_->resolve(scope.start_bus, scope.hops, scope.hop_count, function);
}

template <unsigned most>
void Coverage::build_map(Map<most>& map, const Dmar::Scope* scopes, unsigned count) {
    map.named_count = 0;
    map.behind_named = {};
    unsigned size_of_bus[Hierarchy::bus_count] = {};
    for (const Kind kind : {Kind::endpoint, Kind::bridge}) {
        for (unsigned i = 0; i < count; ++i) {
            const Dmar::Scope& s = scopes[i];
            if (s.kind != kind) continue;
            Requester r = 0;
            if (!resolve(s, r)) {
                ++left_out_;
                continue;
            }
            map.named[map.named_count++] = {r, s.owner};
            Hierarchy::Buses behind{};
            if (kind != Kind::bridge || !hierarchy_->buses_behind(r, behind)) continue;
            // The smallest that a bus is in is its nearest.
            const unsigned size = behind.last - behind.first + 1u;
            for (unsigned bus = behind.first; bus <= behind.last; ++bus) {
                if (size_of_bus[bus] != 0 && size_of_bus[bus] <= size) continue;
                size_of_bus[bus] = size;
                map.behind_named.add(static_cast<std::uint8_t>(bus));
                map.of_bus[bus] = s.owner;
            }
        }
    }
}

void Coverage::add_special(const Dmar::Scope& scope) {
    Requester source = 0;
    if (special_count_ == max_specials || !resolve(scope, source))
        ++left_out_;
    else
        specials_[special_count_++] = {source, scope.enumeration, scope.kind == Kind::io_apic,
                                       scope.owner};
}

template <unsigned most>
std::optional<std::uint8_t> Coverage::Map<most>::owner_of(Requester r) const {
    for (unsigned i = 0; i < named_count; ++i)
        if (named[i].function == r) return named[i].owner;
    const auto bus = static_cast<std::uint8_t>(r >> 8);
    if (!behind_named.has(bus)) return std::nullopt;
    return of_bus[bus];
}

// What a unit that is not used has by name is not another one's.
std::uint8_t Coverage::unit_of(Requester r) const {
    return units_.owner_of(r).value_or(dmar_->catch_all);
}

const Dmar::Reserved* Coverage::reserved_of(Requester r) const {
    const std::optional<std::uint8_t> i = reserved_.owner_of(r);
    return i && *i != Dmar::no_unit ? &dmar_->reserved[*i] : nullptr;
}

unsigned Coverage::firmware_memory(std::span<FirmwareMemory> found) const {
    unsigned count = 0;
    for (unsigned i = 0; i < reserved_.named_count; ++i) {
        const auto [function, owner] = reserved_.named[i];
        if (owner == Dmar::no_unit || unit_of(function) == Dmar::no_unit || is_hidden(function))
            continue;
        const Dmar::Reserved& memory = dmar_->reserved[owner];
        if (count < found.size()) found[count] = {function, true, true, memory.begin, memory.end};
        ++count;
    }
    return count;
}

const Coverage::Special* Coverage::io_apic(unsigned id) const {
    for (unsigned i = 0; i < special_count_; ++i)
        if (specials_[i].is_io_apic && specials_[i].handle == id) return &specials_[i];
    return nullptr;
}

bool Coverage::is_special(Requester r) const {
    for (unsigned i = 0; i < special_count_; ++i)
        if (specials_[i].source == r) return true;
    return false;
}

}  // namespace margay::iommu

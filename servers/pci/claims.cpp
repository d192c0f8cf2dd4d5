#include "servers/pci/claims.hpp"

#include "servers/pci/virtio.hpp"

#include <algorithm>
#include <cstring>

namespace margay::pci {

namespace {

constexpr std::uint32_t class_bridges = 0x06, class_peripherals = 0x08;

std::uint16_t holder_of(std::uint64_t wish) {
    return static_cast<std::uint16_t>(wish & pci_wish::holder_mask);
}

bool is_nodes_own(const Function& f) {
    const std::uint32_t base = f.class_code >> 16;
    return base == class_bridges || (base == class_peripherals && f.class_code >> 8 == 0x0806);
}

// A function that is nobody's to give, and no mere way to others.
bool is_in_the_way(const Function& f) { return !f.is_bridge && is_nodes_own(f); }

bool is_unplaced(const Function& f) {
    return std::ranges::any_of(f.bar, [](const Bar& b) {
        return b.kind != Bar::Kind::none && (b.size == 0 || b.base == 0);
    });
}

std::uint16_t count_msi(Config& config, const Function& f) {
    if (f.capabilities.msi == 0) return 0;
    const unsigned log = config.read(f.address, f.capabilities.msi) >> 17 & 7;
    return static_cast<std::uint16_t>(1u << std::min(log, 5u));
}

PciReset shown(Reset r) {
    return r == Reset::function ? PciReset::function
           : r == Reset::bus    ? PciReset::bus
                                : PciReset::none;
}

}  // namespace

PciOutcome obstacle_of(const Topology& topology, unsigned index, std::uint16_t messages) {
    const Function& f = topology[index].function;
    if (f.is_bridge) return PciOutcome::bridge;
    if (is_nodes_own(f)) return PciOutcome::nodes_own;
    if (topology[index].is_hidden) return PciOutcome::hidden;
    bool blocked = false;
    topology.for_each_companion(
        index, [&blocked](const Topology::Entry& e) { blocked |= is_in_the_way(e.function); });
    if (blocked) return PciOutcome::group;
    if (is_unplaced(f)) return PciOutcome::unplaced;
    return messages == 0 ? PciOutcome::no_messages : PciOutcome::ok;
}

void Claims::list() {
    for (unsigned i = 0; i < topology_.count(); ++i) {
        const Topology::Entry& e = topology_[i];
        const Function& f = e.function;
        PciFunction& to = board_.function[i];
        to.requester = f.address.requester();
        to.vendor = f.vendor;
        to.device = f.device;
        to.revision = f.revision;
        to.reset = shown(e.reset);
        to.class_code = f.class_code;
        to.group = static_cast<std::uint16_t>(e.group);
        to.msi = count_msi(config_, f);
        to.msix = static_cast<std::uint16_t>(f.msix.entries);
        to.obstacle = obstacle_of(topology_, i, to.msi | to.msix);
        if (to.obstacle == PciOutcome::ok && bypasses_iommu(config_, f))
            to.obstacle = PciOutcome::past_iommu;
        to.table_bar = f.msix.bar;
        to.table_offset = f.msix.offset;
        to.pending_bar = f.msix.pending_bar;
        to.pending_offset = f.msix.pending_offset;
        for (unsigned at = 0; at < pci_config_bytes; at += 4) {
            const std::uint32_t v = config_.read(f.address, at);
            std::memcpy(to.config + at, &v, sizeof(v));
        }
        for (unsigned k = 0; k < pci_bars; ++k) {
            const Bar& b = f.bar[k];
            to.bar_flags[k] = static_cast<std::uint8_t>(
                (b.kind == Bar::Kind::ports ? pci_bar::ports : 0) | (b.wide ? pci_bar::wide : 0) |
                (b.prefetchable ? pci_bar::prefetchable : 0));
            to.bar_base[k] = b.base;
            to.bar_size[k] = b.size;
        }
    }
    board_.left_out.store(topology_.left_out(), std::memory_order_relaxed);
    board_.count.store(topology_.count(), std::memory_order_relaxed);
    board_.listed.store(1, std::memory_order_release);
}

// Whatever would be refused is refused before anything is done to it.
PciOutcome Claims::refusal(unsigned i, std::uint64_t wished) const {
    const Claim& c = claims_[i];
    const std::uint16_t holder = holder_of(wished);
    if (holder == 0) return c.is_owed ? PciOutcome::lost : PciOutcome::ok;
    if (c.is_lost) return PciOutcome::lost;
    if (const PciOutcome o = board_.function[i].obstacle; o != PciOutcome::ok) return o;
    bool is_whole = true;
    for (unsigned k = 0; k < topology_.count(); ++k)
        if (k != i && topology_[k].group == topology_[i].group && !topology_[k].function.is_bridge)
            is_whole = is_whole && holder_of(wish(k)) == holder;
    if (!is_whole) return PciOutcome::group;
    if (topology_[i].reset != Reset::none) return PciOutcome::ok;
    if ((wished & pci_wish::allow_no_reset) == 0) return PciOutcome::no_reset;
    return c.last != 0 && c.last != holder ? PciOutcome::used : PciOutcome::ok;
}

// It is still; whose it is from now on. One that was another's is taken from him whatever became of the wish.
PciOutcome Claims::conclude(unsigned i) {
    Claim& c = claims_[i];
    const Function& f = topology_[i].function;
    c.holder = 0;
    if (c.reset.step != ResetState::Step::done) {
        c.is_lost = c.is_owed = true;
        const PciOutcome o =
            c.reset.step == ResetState::Step::lost ? PciOutcome::lost : PciOutcome::did_not_drain;
        board_.function[i].obstacle = o;
        return o;
    }
    const PciOutcome o = refusal(i, c.wish);
    if (o == PciOutcome::ok) c.holder = holder_of(c.wish);
    if (c.holder != 0) c.last = c.holder;
    set_command(i);
    // Every entry of the table is masked after a reset, and what one that had none says goes nowhere: it has a new Device.
    if (const unsigned at = f.capabilities.msix; c.holder != 0 && at != 0)
        config_.write(f.address, at,
                      (config_.read(f.address, at) & ~msix_function_mask) | msix_enable);
    return o;
}

// As its holder may have it.
void Claims::set_command(unsigned i) {
    const Claim& c = claims_[i];
    const Function& f = topology_[i].function;
    std::uint32_t v = command::no_line;
    if (c.holder != 0) {
        if ((c.wish & pci_wish::bus_master) != 0) v |= command::bus_master;
        for (const Bar& b : f.bar) {
            if (b.kind == Bar::Kind::ports) v |= command::ports;
            if (b.kind == Bar::Kind::memory) v |= command::memory;
        }
    }
    config_.write(f.address, reg::command, v);
}

void Claims::answer(unsigned i, PciOutcome outcome) {
    board_.function[i].outcome.store(static_cast<std::uint64_t>(outcome),
                                     std::memory_order_relaxed);
    board_.function[i].served.store(claims_[i].wish, std::memory_order_release);
    claims_[i].works = false;
    if (holder_of(claims_[i].wish) == 0) claims_[i].is_owed = false;
}

bool Claims::work_on(unsigned i, std::uint64_t now) {
    Claim& c = claims_[i];
    if (!c.works) {
        const std::uint64_t wished = wish(i);
        if (wished == served(i)) return false;
        c.wish = wished;
        if (c.holder != 0 && ((wished ^ served(i)) & ~pci_wish::bus_master) == 0) {
            set_command(i);
            answer(i, PciOutcome::ok);
            return true;
        }
        const PciOutcome o = refusal(i, wished);
        if (c.holder == 0 && (o != PciOutcome::ok || holder_of(wished) == 0)) {
            answer(i, o);
            return true;
        }
        c.reset = {};
        c.works = true;
    }
    go_on(c.reset, config_, topology_, i, now, ticks_per_ms_);
    if (!c.reset.is_over()) return false;
    answer(i, conclude(i));
    return true;
}

bool Claims::work(std::uint64_t now) {
    bool any = false, busy = false;
    for (unsigned i = 0; i < topology_.count(); ++i) {
        any |= work_on(i, now);
        busy |= claims_[i].works;
    }
    board_.busy.store(busy ? 1 : 0, std::memory_order_relaxed);
    return any;
}

std::uint64_t Claims::due() const {
    std::uint64_t due = no_deadline;
    for (unsigned i = 0; i < topology_.count(); ++i) {
        if (claims_[i].works)
            due = std::min(due, claims_[i].reset.due);
        else if (wish(i) != served(i))
            return 0;
    }
    return due;
}

}  // namespace margay::pci

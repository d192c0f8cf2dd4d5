#include "servers/pci/claims.hpp"

#include "servers/pci/lines.hpp"
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

PciInterrupts interrupts_of(std::uint64_t wish) {
    return static_cast<PciInterrupts>(wish >> pci_wish::interrupts_shift & 3);
}

// The node's, which nobody turns off.
bool is_kept(PciOutcome obstacle) {
    return obstacle == PciOutcome::bridge || obstacle == PciOutcome::nodes_own ||
           obstacle == PciOutcome::group || obstacle == PciOutcome::hidden;
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
        to.line = static_cast<std::uint16_t>(line_of(config_, topology_, i));
        const bool may_be_given =
            to.obstacle == PciOutcome::ok || to.obstacle == PciOutcome::no_messages;
        if (may_be_given && bypasses_iommu(config_, f)) to.obstacle = PciOutcome::past_iommu;
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
    const bool has_line =
        (wished & pci_wish::line) != 0 && topology_[i].function.interrupt_pin != 0;
    if (const PciOutcome o = board_.function[i].obstacle;
        o != PciOutcome::ok && !(o == PciOutcome::no_messages && has_line))
        return o;
    if (has_line && board_.function[i].line == 0) return PciOutcome::no_line;
    if (has_line && is_line_shared(i, holder)) return PciOutcome::shared_line;
    bool is_whole = true;
    for (unsigned k = 0; k < topology_.count(); ++k)
        if (k != i && topology_[k].group == topology_[i].group && !topology_[k].function.is_bridge)
            is_whole = is_whole && holder_of(wish(k)) == holder;
    if (!is_whole) return PciOutcome::group;
    if (topology_[i].reset != Reset::none) return PciOutcome::ok;
    if ((wished & pci_wish::allow_no_reset) == 0) return PciOutcome::no_reset;
    return c.last != 0 && c.last != holder ? PciOutcome::used : PciOutcome::ok;
}

// With whoever may use it too. Functions of others whose line was not wished for have theirs turned off.
bool Claims::is_line_shared(unsigned i, std::uint16_t holder) const {
    for (unsigned k = 0; k < topology_.count(); ++k) {
        if (k == i || board_.function[k].line != board_.function[i].line) continue;
        if (is_kept(board_.function[k].obstacle)) return true;
        const Claim& other = claims_[k];
        // One that is on its way back may assert it still.
        const std::uint64_t wishes = other.wish | served(k);
        if (other.holder != 0 && other.holder != holder && (wishes & pci_wish::line) != 0)
            return true;
    }
    return false;
}

// Nobody else asserts it from now on. False: one cannot be kept from it.
bool Claims::clear_line(unsigned i) {
    bool all = true;
    for (unsigned k = 0; k < topology_.count(); ++k) {
        if (k == i || board_.function[k].line != board_.function[i].line || claims_[k].holder != 0)
            continue;
        const Address a = topology_[k].function.address;
        const std::uint16_t before = config_.read16(a, reg::command);
        if ((before & command::no_line) != 0) continue;
        config_.write(a, reg::command, before | std::uint32_t{command::no_line});
        all = all && (config_.read16(a, reg::command) & command::no_line) != 0;
    }
    return all;
}

// It is still; whose it is from now on. One that was another's is taken from him whatever became of the wish.
PciOutcome Claims::conclude(unsigned i) {
    Claim& c = claims_[i];
    c.holder = 0;
    if (c.reset.step != ResetState::Step::done) {
        c.is_lost = c.is_owed = true;
        const PciOutcome o =
            c.reset.step == ResetState::Step::lost ? PciOutcome::lost : PciOutcome::did_not_drain;
        board_.function[i].obstacle = o;
        return o;
    }
    PciOutcome o = refusal(i, c.wish);
    if (o == PciOutcome::ok && holder_of(c.wish) != 0 && (c.wish & pci_wish::line) != 0 &&
        board_.function[i].line != 0 && !clear_line(i))
        o = PciOutcome::shared_line;
    if (o == PciOutcome::ok) c.holder = holder_of(c.wish);
    if (c.holder != 0) c.last = c.holder;
    set_up(i);
    return o;
}

// As its holder may have it.
void Claims::set_up(unsigned i) {
    set_interrupts(i);
    set_command(i);
}

// The one in place of the other. Every entry of the table is masked after a reset, and what one that had none says goes nowhere: it
// has a new Device.
void Claims::set_interrupts(unsigned i) {
    const Claim& c = claims_[i];
    const Function& f = topology_[i].function;
    const PciInterrupts kind = c.holder != 0 ? interrupts_of(c.wish) : PciInterrupts::none;
    const auto put = [&](unsigned at, std::uint32_t bits, std::uint32_t value) {
        const std::uint32_t before = config_.read(f.address, at);
        if ((before & bits) != value) config_.write(f.address, at, (before & ~bits) | value);
    };
    if (f.capabilities.msi != 0 && kind != PciInterrupts::msi)
        put(f.capabilities.msi, msi_enable, 0);
    if (f.capabilities.msix != 0)
        put(f.capabilities.msix, msix_enable | msix_function_mask,
            kind == PciInterrupts::msix ? msix_enable : 0);
    if (f.capabilities.msi != 0 && kind == PciInterrupts::msi) set_message(i);
}

// The node's own, never masked: whether the guest wants them is decided in its VMM. A capability with wide addresses has what is
// behind them four bytes further back.
void Claims::set_message(unsigned i) {
    const Function& f = topology_[i].function;
    const unsigned at = f.capabilities.msi;
    const std::uint64_t address = board_.message[i].address.load(std::memory_order_relaxed);
    const std::uint64_t data = board_.message[i].data.load(std::memory_order_relaxed);
    const std::uint64_t log = claims_[i].wish >> pci_wish::messages_shift & 7;
    const std::uint32_t before = config_.read(f.address, at);
    const bool wide = (before & msi_wide) != 0;
    const unsigned behind = at + (wide ? 4 : 0);
    const std::uint32_t off = (before & ~(msi_enable | 7u << msi_messages_shift)) |
                              static_cast<std::uint32_t>(std::min<std::uint64_t>(log, 5))
                                  << msi_messages_shift;
    const auto put = [&](unsigned reg, std::uint32_t bits, std::uint64_t value) {
        const std::uint32_t now = config_.read(f.address, reg);
        const std::uint32_t then = (now & ~bits) | (static_cast<std::uint32_t>(value) & bits);
        if (now != then) config_.write(f.address, reg, then);
    };
    constexpr std::uint32_t whole = 0xffff'ffff, half = 0xffff;
    // While it is off, what the function would send is lost: not for what it has already.
    const bool is_set = before == (off | msi_enable) &&
                        config_.read(f.address, at + 4) == static_cast<std::uint32_t>(address) &&
                        (config_.read(f.address, behind + 8) & half) == (data & half);
    if (is_set) return;
    config_.write(f.address, at, off);
    if (address == 0 || (!wide && address >> 32 != 0)) return;
    put(at + 4, whole, address);
    if (wide) put(at + 8, whole, address >> 32);
    put(behind + 8, half, data);
    if ((before & msi_masks) != 0) put(behind + 12, whole, 0);
    config_.write(f.address, at, off | msi_enable);
}

void Claims::set_command(unsigned i) {
    const Claim& c = claims_[i];
    const Function& f = topology_[i].function;
    const bool by_line = c.holder != 0 && (c.wish & pci_wish::line) != 0 &&
                         interrupts_of(c.wish) == PciInterrupts::line;
    std::uint32_t v = by_line ? 0 : command::no_line;
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
        if (c.holder != 0 && ((wished ^ served(i)) & ~pci_wish::adjustable) == 0) {
            set_up(i);
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

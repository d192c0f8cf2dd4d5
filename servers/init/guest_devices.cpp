#include "servers/init/guest_devices.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "libipc/log.hpp"
#include "proto/vmm.hpp"
#include "servers/init/function_text.hpp"
#include "servers/init/short_text.hpp"
#include "support/address.hpp"

namespace margay::init {

namespace {

constexpr std::uint64_t dma_space_mappings = 64;
constexpr std::uint64_t dma_space_table_bytes = 64 << 10;
// In one piece of work.
constexpr unsigned messages_at_once = 4;
constexpr unsigned moves_per_ms = 4;
constexpr std::uint64_t msix_entry_bytes = 16;
constexpr std::uint64_t first_bar_port = 0x1000, end_of_ports = 0x10000;

// The whole pages of [offset, offset + size).
struct Pages {
    std::uint64_t begin, end;
};
constexpr Pages pages_of(std::uint64_t offset, std::uint64_t size) {
    return {align_down(offset, page_size), align_up(offset + size, page_size)};
}

using Line = Text<120>;

Line address_text(std::uint16_t requester) {
    Line t;
    write_address(t, requester);
    return t;
}

bool is_ports(const PciFunction& f, unsigned bar) {
    return f.bar_size[bar] != 0 && (f.bar_flags[bar] & pci_bar::ports) != 0;
}
bool is_memory(const PciFunction& f, unsigned bar) {
    return f.bar_size[bar] != 0 && (f.bar_flags[bar] & pci_bar::ports) == 0;
}
bool is_wide(const PciFunction& f, unsigned bar) { return (f.bar_flags[bar] & pci_bar::wide) != 0; }

}  // namespace

void GuestDevices::begin(Node& node, DeviceService& service, const VmConfig& config,
                         std::uint16_t holder) {
    node_ = &node;
    service_ = &service;
    config_ = &config;
    holder_ = holder;
    holdings_.use(node);
    step_ = config.devices.count == 0 ? Step::none : Step::choose;
    count_ = next_ = parts_ = messages_ = lines_ = 0;
    mapped_ = 0;
    keeps_memory_ = false;
}

// --- whose they are

bool GuestDevices::is_chosen(unsigned index) const {
    return std::any_of(claimed_, claimed_ + count_,
                       [index](const Claimed& c) { return c.index == index; });
}

// One that can be given, before one that cannot.
unsigned GuestDevices::choose_one(const DeviceChoice& choice, Failure& why) const {
    const unsigned none = service_->count();
    unsigned found = none;
    bool is_held = false;
    for (unsigned i = none; i-- != 0;) {
        const PciFunction& f = service_->function(i);
        if (!choice.fits(f) || is_chosen(i)) continue;
        if (service_->holder(i) != 0) {
            is_held = true;
            continue;
        }
        const bool is_usable =
            f.obstacle == PciOutcome::ok && service_->firmware_use(f.requester) == nullptr;
        if (found == none || is_usable) found = i;
    }
    if (found != none) return found;
    DeviceChoices one{1, {choice}};
    Line text;
    write_choices(text, one);
    if (is_held)
        why.set(FailureKind::busy, "devices: {} is another VM's", text.view());
    else
        why.set(FailureKind::not_found, "devices: the machine has none that is {}", text.view());
    return none;
}

void GuestDevices::refuse_firmwares(const PciFunction& f, Failure& why) const {
    const BootFirmwareMemory* m = service_->firmware_use(f.requester);
    if (m == nullptr) return;
    Line text;
    write_firmware_use(text, *m);
    why.set(FailureKind::failed, "device {} cannot be given: {}", address_text(f.requester).view(),
            text.view());
}

std::uint64_t GuestDevices::wish() const {
    return holder_ | (config_->allow_no_reset ? pci_wish::allow_no_reset : 0) |
           (config_->line_interrupts ? pci_wish::line : 0);
}

bool GuestDevices::choose(Failure& why) {
    for (std::uint64_t k = 0; k < config_->devices.count; ++k) {
        const unsigned index = choose_one(config_->devices.choice[k], why);
        if (!why.is_set()) {
            service_->copy(index, real_[count_]);
            refuse_firmwares(real_[count_], why);
        }
        if (why.is_set()) {
            count_ = 0;  // nothing was wished for
            return false;
        }
        claimed_[count_++] = {.index = index};
    }
    if (!place_bars(why)) {
        count_ = 0;
        return false;
    }
    // All at once: those of a group are given together.
    for (unsigned i = 0; i < count_; ++i) service_->wish(claimed_[i].index, wish());
    return true;
}

bool GuestDevices::place_bars(Failure& why) {
    windows_ = {};
    for (unsigned i = 0; i < count_; ++i) {
        const PciFunction& f = real_[i];
        for (unsigned bar = 0; bar < pci_bars; ++bar)
            if (is_memory(f, bar)) windows_.add(f.bar_size[bar], is_wide(f, bar));
    }
    constexpr std::uint64_t mib = 1 << 20;
    const auto mib_of = [](std::uint64_t bytes) {
        return bytes / mib + (bytes % mib != 0 ? 1 : 0);
    };
    switch (windows_.place(config_->memory_mib * mib)) {
    case FunctionWindows::Fit::ok: return true;
    case FunctionWindows::Fit::low:
        why.set(FailureKind::failed,
                "devices: their BARs of 32 bits need {} MiB, and the guest has {} MiB for them",
                mib_of(windows_.narrow()), function_window_bytes / mib);
        return false;
    case FunctionWindows::Fit::high:
        why.set(FailureKind::failed,
                "devices: their BARs of 64 bits need {} MiB above {} MiB of RAM, and the guest's "
                "physical "
                "addresses end at {} MiB",
                mib_of(windows_.wide()), config_->memory_mib, (1ull << guest_physical_bits) / mib);
        return false;
    }
    return false;
}

// Who else is in the way says more than that somebody is.
void GuestDevices::explain(const PciFunction& f, PciOutcome outcome, Failure& why) const {
    Line text;
    const auto put = [&text](std::string_view s) {
        for (const char c : s) text(c);
    };
    put(to_text(outcome));
    if (outcome == PciOutcome::group || outcome == PciOutcome::shared_line) {
        put(":");
        for (unsigned i = 0; i < service_->count(); ++i) {
            const PciFunction& other = service_->function(i);
            const bool is_in_the_way =
                outcome == PciOutcome::group
                    ? other.group == f.group
                    : other.line == f.line && service_->holder(i) != holder_ &&
                          (service_->holder(i) != 0 || other.obstacle != PciOutcome::ok ||
                           !service_->outcome(i));  // on its way back
            if (!is_in_the_way || other.requester == f.requester) continue;
            text(' ');
            write_address(text, other.requester);
            put(" (");
            put(kind_of(other.class_code));
            text(')');
        }
    }
    if (outcome == PciOutcome::no_reset) put("; a VM with allow_no_reset takes it");
    if (outcome == PciOutcome::no_messages && f.line != 0)
        put("; a VM with line_interrupts takes it");
    why.set(FailureKind::failed, "device {} cannot be given: {}", address_text(f.requester).view(),
            text.view());
}

Piece GuestDevices::await_claims(Failure& why) {
    for (unsigned i = 0; i < count_; ++i) {
        const std::optional<PciOutcome> outcome = service_->outcome(claimed_[i].index);
        if (!outcome) return Piece::waits;
        if (*outcome == PciOutcome::ok) continue;
        explain(real_[i], *outcome, why);
        // None reaches the guest's memory yet: they are nobody's before anybody hears of it, and may be asked for again at once.
        for (unsigned k = 0; k < count_; ++k) service_->wish(claimed_[k].index, 0);
        count_ = 0;
        return Piece::failed;
    }
    return Piece::done;
}

// --- what is made of them

Status GuestDevices::create_page() {
    const Result<Extent> page = holdings_.allocate(page_size);
    if (!page) return page.status();
    const Result<std::uint64_t> here = holdings_.map_here(*page, map_right::read_write);
    if (!here) return here.status();
    page_ = *page;
    std::memset(reinterpret_cast<void*>(*here), 0, page_size);
    description_ = new (reinterpret_cast<void*>(*here)) GuestFunctions{};
    description_->count = count_;
    description_->high_window = windows_.base();
    description_->high_window_bytes = windows_.bytes();
    return Status::ok;
}

Status GuestDevices::create_space(const Guest& guest) {
    const std::uint64_t mappings = dma_space_mappings + guest.ram.size / bytes_per_mapping;
    const Result<Extent> storage =
        holdings_.allocate(dma_space_overhead + align_up(mappings * mapping_bytes, page_size) +
                           dma_space_table_bytes + guest.ram.size / bytes_per_table * page_size);
    if (!storage) return storage.status();
    space_ = holdings_.new_slot();
    return create(ObjectType::dma_space, space_, storage->slot, mappings);
}

// As the guest sees it: what its driver tells a device are guest-physical addresses.
Status GuestDevices::map_piece(const Guest& guest, bool& done) {
    const RamPiece piece = next_piece(guest.ram, mapped_);
    const Status s =
        map_ram(guest.ram, space_, piece.at, mapped_, piece.size, map_right::read_write);
    mapped_ += piece.size;
    done = mapped_ == guest.ram.size;
    return s;
}

Status GuestDevices::add_part(unsigned i, unsigned bar, std::uint64_t offset, std::uint64_t size,
                              bool is_trapped) {
    if (size == 0) return Status::ok;
    if (parts_ == max_function_parts) return Status::no_memory;
    const PciFunction& f = real_[i];
    const bool ports = is_ports(f, bar);
    Extent& e = part_[parts_];
    e = {node_->new_slot(), f.bar_base[bar] + offset, size};
    const Status s =
        ports ? carve(e.slot, init_slot::ports, e.base, e.size) : node_->carve_device(e);
    if (s != Status::ok) {
        node_->give_back_slot(e.slot);
        return s;
    }
    FunctionPart& to = description_->part[parts_];
    to.function = static_cast<std::uint8_t>(i);
    to.bar = static_cast<std::uint8_t>(bar);
    to.is_trapped = is_trapped ? 1 : 0;
    to.is_ports = ports ? 1 : 0;
    to.offset = offset;
    to.size = size;
    if (ports) to.address = e.base;
    if (is_trapped) {
        to.address = vmm_traps_address;
        for (unsigned k = 0; k < parts_; ++k)
            if (description_->part[k].is_trapped != 0) to.address += description_->part[k].size;
    } else {
        for (unsigned k = 0; k < parts_; ++k)
            if (description_->part[k].is_trapped == 0) ++to.memory;
    }
    description_->parts = ++parts_;
    return Status::ok;
}

// Pages that have the MSI-X table or the pending bits are the VMM's to emulate, all others the guest's.
Status GuestDevices::create_parts(unsigned i) {
    const PciFunction& f = real_[i];
    GuestFunction& to = description_->function[i];
    for (unsigned bar = 0; bar < pci_bars; ++bar) {
        const std::uint64_t size = f.bar_size[bar];
        if (is_ports(f, bar)) {
            // Below are what the machine itself is driven by.
            if (f.bar_base[bar] < first_bar_port || size > end_of_ports - first_bar_port ||
                f.bar_base[bar] > end_of_ports - size)
                return Status::not_supported;
            to.bar_size[bar] = size;
            to.bar_flags[bar] = 1;
            const Status s = add_part(i, bar, 0, size, false);
            if (s != Status::ok) return s;
            continue;
        }
        if (!is_memory(f, bar)) continue;
        if (!is_aligned(f.bar_base[bar] | size, page_size)) return Status::not_supported;
        to.bar_size[bar] = size;
        to.bar_flags[bar] = static_cast<std::uint8_t>(
            (is_wide(f, bar) ? 4 : 0) | ((f.bar_flags[bar] & pci_bar::prefetchable) != 0 ? 8 : 0));
        Pages trapped[2];
        unsigned count = 0;
        if (f.msix != 0 && f.table_bar == bar)
            trapped[count++] = pages_of(f.table_offset, f.msix * msix_entry_bytes);
        if (f.msix != 0 && f.pending_bar == bar)
            trapped[count++] = pages_of(f.pending_offset, align_up(f.msix, 64) / 8);
        if (count == 2 && trapped[1].begin < trapped[0].begin) std::swap(trapped[0], trapped[1]);
        if (count == 2 && trapped[1].begin <= trapped[0].end) {
            trapped[0].end = std::max(trapped[0].end, trapped[1].end);
            count = 1;
        }
        std::uint64_t at = 0;
        Status s = Status::ok;
        for (unsigned k = 0; k < count && s == Status::ok; ++k) {
            const Pages& p = trapped[k];
            if (p.end > size) return Status::bad_argument;
            s = add_part(i, bar, at, p.begin - at, false);
            if (s == Status::ok) s = add_part(i, bar, p.begin, p.end - p.begin, true);
            at = p.end;
        }
        if (s == Status::ok) s = add_part(i, bar, at, size - at, false);
        if (s != Status::ok) return s;
    }
    return Status::ok;
}

Status GuestDevices::create_function(unsigned i, const char*& what) {
    Claimed& c = claimed_[i];
    const PciFunction& f = real_[i];
    what = "the IOMMU does not confine it alone";
    const Result<Extent> storage = holdings_.allocate(storage_device);
    if (!storage) return storage.status();
    c.device = holdings_.new_slot();
    Status s = create(ObjectType::device, c.device, storage->slot, init_slot::device_control,
                      f.requester |
                          (config_->allow_no_interrupt_remapping ? device_flag::may_raise_any : 0));
    if (s == Status::ok) s = device_ctl(c.device, DeviceOp::attach, space_);
    c.is_attached = s == Status::ok;
    if (s != Status::ok) return s;
    GuestFunction& to = description_->function[i];
    to.requester = f.requester;
    std::memcpy(to.config, f.config, sizeof(to.config));
    to.table_bar = f.table_bar, to.pending_bar = f.pending_bar;
    to.table_offset = f.table_offset, to.pending_offset = f.pending_offset;
    what = "its BARs cannot be had";
    return create_parts(i);
}

// By whichever of the two it sends them.
unsigned GuestDevices::irqs_of(unsigned i) const {
    const GuestFunction& f = description_->function[i];
    return std::max<unsigned>(f.messages, f.msi_messages);
}

void GuestDevices::share_messages() {
    const unsigned share = max_guest_messages / count_;
    for (unsigned i = 0; i < count_; ++i) {
        const PciFunction& real = real_[i];
        GuestFunction& f = description_->function[i];
        f.first_message =
            i == 0 ? 0 : static_cast<std::uint16_t>((&f)[-1].first_message + irqs_of(i - 1));
        f.messages = static_cast<std::uint16_t>(std::min<unsigned>(real.msix, share));
        f.msi_messages = static_cast<std::uint8_t>(
            std::bit_floor(std::min<unsigned>({real.msi, share, max_msi_messages})));
    }
}

// With several messages by MSI a function writes the same to the same address but for the low bits. Where the IOMMU does not tell
// them apart by these, it has one.
Status GuestDevices::set_first_message(unsigned i) {
    GuestFunction& f = description_->function[i];
    if (f.msi_messages == 0) return Status::ok;
    const Result<MessageAddress> first = query_message(irq_[f.first_message]);
    if (!first) return first.status();
    for (unsigned n = 1; n < f.msi_messages; ++n) {
        const Result<MessageAddress> next = query_message(irq_[f.first_message + n]);
        if (!next) return next.status();
        if (next->address != first->address || next->data != (first->data | n) ||
            (first->data & (f.msi_messages - 1)) != 0)
            f.msi_messages = 1;
    }
    service_->set_message(claimed_[i].index, *first);
    return Status::ok;
}

// Each function has its share of them. At first vCPU 0 takes them.
Status GuestDevices::create_messages(const Guest& guest, bool& done) {
    if (messages_ == 0 && message_storage_.size == 0) {
        share_messages();
        const Result<Extent> storage = holdings_.allocate(max_guest_messages * storage_small);
        if (!storage) return storage.status();
        message_storage_ = *storage;
    }
    const unsigned all = description_->function[count_ - 1].first_message + irqs_of(count_ - 1);
    Status s = Status::ok;
    for (unsigned n = 0; n < messages_at_once && messages_ < all && s == Status::ok; ++n) {
        unsigned i = 0;
        while (messages_ >= description_->function[i].first_message + irqs_of(i)) ++i;
        irq_storage_[messages_] = node_->new_slot();
        irq_[messages_] = node_->new_slot();
        const Slot irq = irq_[messages_];
        s = carve(irq_storage_[messages_], message_storage_.slot,
                  message_storage_.base + messages_ * storage_small, storage_small);
        const Slot core = init_slot::first_core + static_cast<Slot>(guest.first.core);
        if (s == Status::ok)
            s = create_message(irq, irq_storage_[messages_], claimed_[i].device,
                               messages_ - description_->function[i].first_message, core);
        if (s == Status::ok)
            s = irq_ctl(irq, IrqOp::bind, guest.first.event,
                        1ull << (recall_bit::first_message + messages_));
        message_cpu_[messages_] = 0;
        ++messages_;
    }
    done = messages_ == all;
    for (unsigned i = 0; done && i < count_ && s == Status::ok; ++i) s = set_first_message(i);
    return s;
}

// Functions of a VM may have one in common, of which the guest knows then. It is let in at once; a function asserts it when the guest
// wants that.
Status GuestDevices::create_lines(const Guest& guest) {
    if (!config_->line_interrupts) return Status::ok;
    for (unsigned i = 0; i < count_; ++i) {
        const unsigned gsi = real_[i].line;
        if (gsi == 0) continue;
        // Lines of ISA are the machine's own.
        constexpr unsigned first_pci_line = 16;
        if (gsi < first_pci_line) return Status::not_supported;
        unsigned k = 0;
        while (k < lines_ && line_[k].gsi != gsi) ++k;
        description_->function[i].line = static_cast<std::uint8_t>(k + 1);
        if (k != lines_) continue;
        const Result<Extent> storage = holdings_.allocate(storage_small);
        if (!storage) return storage.status();
        line_[lines_++] = {gsi, holdings_.new_slot()};
        Status s =
            create(ObjectType::irq, line_[k].irq, storage->slot, init_slot::irq_control, gsi);
        if (s == Status::ok)
            s = irq_ctl(line_[k].irq, IrqOp::bind, guest.first.event,
                        1ull << (recall_bit::first_line + k));
        if (s != Status::ok) return s;
    }
    return Status::ok;
}

Piece GuestDevices::create_piece(const Guest& guest, Failure& why) {
    Status s = Status::ok;
    bool goes_on = true;
    const char* what = "no memory for its devices";
    const PciFunction* about = nullptr;
    switch (step_) {
    case Step::none:
    case Step::complete:
    case Step::back:
    case Step::kept: return Piece::done;
    case Step::choose:
        if (!service_->is_there())
            why.set(FailureKind::failed, "devices: this node has no pci server");
        else if (!service_->has_iommu())
            why.set(FailureKind::failed, "devices: there is no IOMMU to confine them");
        else if (!service_->remaps_interrupts() && !config_->allow_no_interrupt_remapping)
            why.set(FailureKind::failed, "devices: the IOMMU does not remap their interrupts; a VM "
                                         "with allow_no_interrupt_remapping takes them");
        if (why.is_set()) return Piece::failed;
        if (service_->count() == 0) return Piece::waits;
        if (!choose(why)) return Piece::failed;
        break;
    case Step::claim: {
        const Piece p = await_claims(why);
        if (p != Piece::done) return p;
        break;
    }
    case Step::page: s = create_page(); break;
    case Step::space: s = create_space(guest); break;
    case Step::mapping:
        what = "its memory cannot be mapped for its devices";
        s = map_piece(guest, goes_on);
        break;
    case Step::function:
        about = &real_[next_];
        s = create_function(next_, what);
        goes_on = ++next_ == count_;
        break;
    case Step::messages:
        what = "no more interrupt messages can be taken";
        s = create_messages(guest, goes_on);
        break;
    case Step::lines:
        what = "their interrupt lines cannot be had";
        s = create_lines(guest);
        break;
    }
    if (s != Status::ok) {
        const FailureKind kind =
            s == Status::no_memory ? FailureKind::no_memory : FailureKind::failed;
        if (about != nullptr)
            why.set(kind, "device {} cannot be given: {}: {}",
                    address_text(about->requester).view(), what, to_text(s));
        else
            why.set(kind, "devices: {}: {}", what, to_text(s));
        return Piece::failed;
    }
    if (goes_on) step_ = static_cast<Step>(static_cast<unsigned>(step_) + 1);
    return step_ == Step::complete ? Piece::done : Piece::more;
}

// As the pci server knows it. A function sends no more messages than have an Irq.
std::uint64_t GuestDevices::board_bits(unsigned i, std::uint64_t wanted) const {
    const std::uint64_t kind = wanted >> function_wish::interrupts_shift & 3;
    const unsigned given = std::max<unsigned>(description_->function[i].msi_messages, 1);
    const auto log = std::min<std::uint64_t>(wanted >> function_wish::messages_shift & 7,
                                             std::bit_width(given) - 1);
    return ((wanted & function_wish::bus_master) != 0 ? pci_wish::bus_master : 0) |
           kind << pci_wish::interrupts_shift | log << pci_wish::messages_shift;
}

// --- while it runs

// First to whom, then where: what comes meanwhile, and what cannot be moved, the kernel hands on to that vCPU's core.
// A VMM can wish for others without end: so many are moved in a millisecond.
void GuestDevices::direct_messages(const Guest& guest) {
    moves_wait_ = rdtsc() < next_move_;
    if (moves_wait_) return;
    unsigned moves = 0;
    for (unsigned n = 0; n < messages_; ++n) {
        const unsigned i = next_message_;
        next_message_ = (next_message_ + 1) % messages_;
        const unsigned cpu = guest.control->message_cpu[i].load();
        if (cpu == message_cpu_[i] || cpu >= guest.cpus()) continue;
        if (moves == moves_per_ms) {
            next_message_ = i;
            moves_wait_ = true;
            return;
        }
        ++moves;
        next_move_ = rdtsc() + holdings_.node().ticks(us_per_ms);
        const GuestCpu& to = guest.cpu(cpu);
        if (irq_ctl(irq_[i], IrqOp::bind, to.event, 1ull << (recall_bit::first_message + i)) !=
            Status::ok)
            continue;
        message_cpu_[i] = static_cast<std::uint8_t>(cpu);
        (void)move_message(irq_[i], init_slot::first_core + static_cast<Slot>(to.core));
    }
}

void GuestDevices::look(const Guest& guest, Slot requests) {
    if (count() == 0) return;
    VmControl& control = *guest.control;
    direct_messages(guest);
    bool news = false;
    for (unsigned i = 0; i < count(); ++i) {
        Claimed& c = claimed_[i];
        FunctionControl& f = control.function[i];
        const std::uint64_t wanted = f.wanted.load();
        if (wanted != c.asked) {
            const std::uint64_t bits = board_bits(i, wanted);
            if ((wanted ^ c.asked) >> function_wish::resets_shift != 0)
                service_->wish(c.index, wish() | bits);
            else
                service_->adjust(c.index, bits);
            c.asked = wanted;
        }
        const std::optional<PciOutcome> outcome = service_->outcome(c.index);
        if (!outcome || f.granted.load() == c.asked) continue;
        // One that is lost reads as ones from now on, as one that was pulled out does.
        if (*outcome != PciOutcome::ok)
            log("margay: device {} of guest {}: {}\n", address_text(real_[i].requester).view(),
                config_->name, to_text(*outcome));
        f.granted.store(c.asked);
        news = true;
    }
    if (news) (void)signal(requests, recall_bit::node);
}

// --- back

Piece GuestDevices::await_rest() {
    for (unsigned i = 0; i < count_; ++i)
        if (!service_->outcome(claimed_[i].index)) return Piece::waits;
    for (unsigned i = 0; i < count_; ++i) {
        const PciOutcome outcome = *service_->outcome(claimed_[i].index);
        if (outcome == PciOutcome::ok) continue;
        keeps_memory_ = true;
        log("margay: device {} of guest {}: {}; it, and the guest's memory, are given to nobody\n",
            address_text(real_[i].requester).view(), config_->name, to_text(outcome));
    }
    return Piece::done;
}

void GuestDevices::give_back() {
    for (unsigned i = 0; i < count_; ++i)
        if (claimed_[i].is_attached) (void)device_ctl(claimed_[i].device, DeviceOp::detach);
    for (; parts_ != 0; --parts_) {
        (void)revoke(part_[parts_ - 1].slot, revoke_flag::self);
        node_->give_back_slot(part_[parts_ - 1].slot);
    }
    // Their objects go with the memory that they are made of; only then the slots are empty.
    holdings_.release();
    for (; messages_ != 0; --messages_) {
        node_->give_back_slot(irq_[messages_ - 1]);
        node_->give_back_slot(irq_storage_[messages_ - 1]);
    }
}

Piece GuestDevices::release_piece() {
    switch (step_) {
    case Step::none: return Piece::done;
    case Step::kept: return Piece::done;
    case Step::back: {
        const Piece p = await_rest();
        if (p != Piece::done) return p;
        if (keeps_memory_) {
            for (unsigned i = 0; i < messages_; ++i) (void)irq_ctl(irq_[i], IrqOp::unbind);
            for (unsigned i = 0; i < lines_; ++i) (void)irq_ctl(line_[i].irq, IrqOp::unbind);
            holdings_.abandon();
            step_ = Step::kept;
            return Piece::done;
        }
        give_back();
        step_ = Step::none;
        count_ = lines_ = 0;
        page_ = message_storage_ = Extent{};
        description_ = nullptr;
        space_ = no_slot;
        return Piece::done;
    }
    default:
        for (unsigned i = 0; i < count_; ++i) service_->wish(claimed_[i].index, 0);
        step_ = Step::back;
        return Piece::more;
    }
}

}  // namespace margay::init

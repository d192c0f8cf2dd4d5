#include "servers/vmm/board.hpp"

#include "proto/exit.hpp"

#include "servers/vmm/devices/inbox.hpp"
#include "servers/vmm/devices/local_apic_bits.hpp"

namespace margay::vmm {

namespace {

constexpr unsigned com1_irq = 4;
constexpr std::uint8_t keyboard_status_full = 0x01;

constexpr std::uint64_t ones(unsigned width) {
    return width >= 8 ? ~0ULL : (1ULL << (8 * width)) - 1;
}

/// Three deadlines that never come, and a PIC without a request.
constinit const BoardState quiet_board = [] {
    BoardState s{};
    s.pit.live.deadline_ns = s.rtc.live.deadline_ns = s.acpi_pm.live.deadline_ns = no_deadline;
    return s;
}();

constexpr bool valid_width(unsigned width) { return width == 1 || width == 2 || width == 4; }

}  // namespace

Board::Board(const Parts& p) noexcept
    : state_{p.state},
      own_{*p.cpus.state[p.cpu]},
      served_{p.cpu == 0 ? p.state : quiet_board},
      cpu_{p.cpu},
      transaction_{p.transaction},
      cpus_{p.cpus},
      lock_{p.lock},
      waker_{p.waker},
      offer_{p.cpus.state[p.cpu]->offer, p.transaction},
      local_apic_{{p.cpus.state[p.cpu]->local_apic, p.transaction},
                  p.state.time.live,
                  p.state.config.live.physical_bits,
                  p.clock,
                  *this,
                  p.words},
      pic_{{p.state.pic, p.transaction}},
      io_apic_{{p.state.io_apic, p.transaction}, *this},
      uart_{{p.state.uart, p.transaction}, p.console, *this, com1_irq},
      pit_{{p.state.pit, p.transaction}, p.clock, *this},
      rtc_{{p.state.rtc, p.transaction}, p.clock, *this},
      acpi_pm_{{p.state.acpi_pm, p.transaction}, p.clock, *this, p.control},
      pass_through_{make_pass_through(p)},
      function_window_bytes_{pass_through_ ? function_window_bytes : 0},
      high_window_{pass_through_ ? p.functions->high_window : 0},
      high_window_bytes_{pass_through_ ? p.functions->high_window_bytes : 0},
      has_lines_{pass_through_ && has_lines(*p.functions)},
      pci_host_{{p.state.pci_host, p.transaction}, pass_through_ ? &*pass_through_ : nullptr},
      kvm_clock_{{p.cpus.state[p.cpu]->kvm_clock, p.transaction},
                 p.state.config.live.epoch_s,
                 p.clock,
                 p.memory},
      steal_time_{{p.cpus.state[p.cpu]->kvm_clock, p.transaction}, p.state.time.live, p.memory},
      msrs_{{p.cpus.state[p.cpu]->msr, p.transaction},
            p.state.config.live.physical_bits,
            p.clock,
            local_apic_,
            kvm_clock_,
            steal_time_} {}

std::optional<PassThrough> Board::make_pass_through(const Parts& p) noexcept {
    if (p.functions == nullptr || p.hands == nullptr) {
        return std::nullopt;
    }
    return std::optional<PassThrough>{std::in_place,
                                      PassThrough::Parts{*p.functions,
                                                         *p.hands,
                                                         p.control,
                                                         *this,
                                                         *this,
                                                         {p.state.pci_functions, p.transaction},
                                                         {p.state.msix_table, p.transaction}}};
}

void Board::reset(BoardState& state, BoardConfig config, HostCpuid host) noexcept {
    state = {};
    state.config.live = config;
    state.time.live = TimeBase::make(config.tsc_khz);
    Pic::reset(state.pic.live);
    IoApic::reset(state.io_apic.live);
    Uart::reset(state.uart.live);
    Pit::reset(state.pit.live);
    Rtc::reset(state.rtc.live, config.epoch_s);
    AcpiPm::reset(state.acpi_pm.live);
    PciHost::reset(state.pci_host.live);
    PassThrough::reset(state.pci_functions.live);
    MsixTable::reset(state.msix_table.live);
    build_cpuid(
        state.cpuid.live,
        {config.tsc_khz, config.apic_id, config.physical_bits, config.cpus, config.hidden_features},
        host);
}

void Board::reset(CpuState& state, const BoardConfig& config, unsigned cpu) noexcept {
    state.offer = {};
    state.msr = {};
    state.kvm_clock = {};
    state.inbox = {};
    state.answer = {};
    state.local_apic = {};
    LocalApicState& apic = state.local_apic.live;
    LocalApic::reset(apic, config.apic_id + cpu, config.start_in_x2apic != 0);
    if (cpu != 0) {
        // As firmware leaves those that it has stopped again.
        LocalApic::initialise(apic, apic.id, apic.base & ~apic::base_bsp);
    }
    KvmClock::reset(state.kvm_clock.live, config.tsc_khz);
    Msrs::reset(state.msr.live);
}

std::uint32_t Board::wide_read(std::uint16_t port, unsigned width) {
    if (!valid_width(width)) {
        return static_cast<std::uint32_t>(ones(4));
    }
    const auto end = port + width;
    switch (port_map.find(port)) {
    case PortOwner::acpi_pm:
        if (end <= pm_base + 12U) {
            return acpi_pm_.read(port, width);
        }
        break;
    case PortOwner::pci_address:
        if (width == 4 && port == 0xcf8) {
            return pci_host_.read_address();
        }
        break;
    case PortOwner::pci_data:
        if (end <= 0xd00) {
            return pci_host_.read_data(port & 3, width);
        }
        break;
    case PortOwner::none:
        if (pass_through_ && pass_through_->has_port(port, width)) {
            return pass_through_->port_read(port, width) & static_cast<std::uint32_t>(ones(width));
        }
        break;
    default: break;
    }
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
        value |= static_cast<std::uint32_t>(byte_read(static_cast<std::uint16_t>(port + i)))
                 << (8 * i);
    }
    return value;
}

void Board::wide_write(std::uint16_t port, unsigned width, std::uint32_t value) {
    if (!valid_width(width)) {
        return;
    }
    const auto end = port + width;
    switch (port_map.find(port)) {
    case PortOwner::acpi_pm:
        if (end <= pm_base + 12U) {
            acpi_pm_.write(port, width, value);
            return;
        }
        break;
    case PortOwner::pci_address:
        if (width == 4 && port == 0xcf8) {
            pci_host_.write_address(value);
            return;
        }
        break;
    case PortOwner::pci_data:
        if (end <= 0xd00) {
            pci_host_.write_data(port & 3, width, value);
            return;
        }
        break;
    case PortOwner::none:
        if (pass_through_ && pass_through_->has_port(port, width)) {
            pass_through_->port_write(port, width, value);
            return;
        }
        break;
    default: break;
    }
    for (unsigned i = 0; i < width; ++i) {
        byte_write(static_cast<std::uint16_t>(port + i),
                   static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

// Kept apart from the wide accesses and from all but the commonest device, whose needs would make every
// byte access save more registers.
[[gnu::noinline]] std::uint8_t Board::byte_read(std::uint16_t port) {
    const auto owner = port_map.find(port);
    if (owner == PortOwner::uart) {
        return uart_.read(port & 7);
    }
    return device_read(owner, port);
}

[[gnu::noinline]] std::uint8_t Board::device_read(PortOwner owner, std::uint16_t port) {
    switch (owner) {
    case PortOwner::pic: return pic_.read(port);
    case PortOwner::pit: return pit_.read(port);
    case PortOwner::speaker: return pit_.read_speaker();
    case PortOwner::rtc: return rtc_.read(port);
    case PortOwner::keyboard:
        // No controller: output always full, input never. A probing driver gives up after a few bytes, and one
        // that waits to send the reset command does not wait.
        return keyboard_status_full;
    case PortOwner::fast_a20: return acpi_pm_.read_fast_a20();
    case PortOwner::acpi_pm: return static_cast<std::uint8_t>(acpi_pm_.read(port, 1));
    case PortOwner::reset_control: return acpi_pm_.read_reset_control();
    case PortOwner::pci_data: return static_cast<std::uint8_t>(pci_host_.read_data(port & 3, 1));
    case PortOwner::delay:
    case PortOwner::keyboard_data: return 0xff;
    case PortOwner::none:
        if (pass_through_ && pass_through_->has_port(port, 1)) {
            return static_cast<std::uint8_t>(pass_through_->port_read(port, 1));
        }
        break;
    case PortOwner::uart:  // answered before
    case PortOwner::pci_address: break;
    }
    ++unclaimed_ports_;
    return 0xff;
}

[[gnu::noinline]] void Board::byte_write(std::uint16_t port, std::uint8_t value) {
    const auto owner = port_map.find(port);
    if (owner == PortOwner::uart) {
        uart_.write(port & 7, value);
    } else if (owner != PortOwner::delay) {
        device_write(owner, port, value);
    }
}

[[gnu::noinline]] void Board::device_write(PortOwner owner, std::uint16_t port,
                                           std::uint8_t value) {
    switch (owner) {
    case PortOwner::pic: pic_.write(port, value); return;
    case PortOwner::pit: pit_.write(port, value); return;
    case PortOwner::speaker: pit_.write_speaker(value); return;
    case PortOwner::rtc: rtc_.write(port, value); return;
    case PortOwner::keyboard: acpi_pm_.write_keyboard_command(value); return;
    case PortOwner::fast_a20: acpi_pm_.write_fast_a20(value); return;
    case PortOwner::acpi_pm: acpi_pm_.write(port, 1, value); return;
    case PortOwner::reset_control: acpi_pm_.write_reset_control(value); return;
    case PortOwner::pci_data: pci_host_.write_data(port & 3, 1, value); return;
    case PortOwner::delay:
    case PortOwner::keyboard_data: return;
    case PortOwner::none:
        if (pass_through_ && pass_through_->has_port(port, 1)) {
            pass_through_->port_write(port, 1, value);
            return;
        }
        break;
    case PortOwner::uart:  // answered before
    case PortOwner::pci_address: break;
    }
    ++unclaimed_ports_;
}

std::uint64_t Board::mmio_read(std::uint64_t address, unsigned width) {
    const auto page = address & ~0xfffULL;
    const auto offset = static_cast<std::uint32_t>(address & 0xfff);
    if (width != 0 && width <= 8 && offset + width <= 0x1000) {
        if (local_apic_.has_page_at(page)) {
            return local_apic_.mmio_read(offset, width);
        }
        if (page == io_apic_address) {
            need_shared();
            return io_apic_.mmio_read(offset, width);
        }
        if (may_be_function(address)) {
            need_shared();
            return pass_through_->read(address, width);
        }
    }
    ++unclaimed_mmio_;
    return ones(width);
}

void Board::mmio_write(std::uint64_t address, unsigned width, std::uint64_t value) {
    const auto page = address & ~0xfffULL;
    const auto offset = static_cast<std::uint32_t>(address & 0xfff);
    if (width != 0 && width <= 8 && offset + width <= 0x1000) {
        if (local_apic_.has_page_at(page)) {
            local_apic_.mmio_write(offset, width, value);
            return;
        }
        if (page == io_apic_address) {
            need_shared();
            io_apic_.mmio_write(offset, width, value);
            return;
        }
        if (may_be_function(address)) {
            need_shared();
            pass_through_->write(address, width, value);
            return;
        }
    }
    ++unclaimed_mmio_;
}

bool Board::map_function(std::uint64_t gpa, std::uint64_t access) {
    // Neither code nor page tables can lie in a device.
    if ((access & (mmio_access::fetch | mmio_access::page_walk)) != 0 ||
        local_apic_.has_page_at(gpa & ~0xfffULL)) {
        return false;
    }
    need_shared();
    return pass_through_->touch(gpa);
}

void Board::function_messages(std::uint64_t numbers) {
    if (pass_through_) {
        need_shared();
        pass_through_->arrive(numbers);
    }
}

void Board::functions_granted() {
    if (!pass_through_) {
        return;
    }
    need_shared();
    pass_through_->settle_all();
    for (unsigned cpu = 0; cpu < cpus_.count; ++cpu) {
        if (cpu != cpu_ && cpus_.state[cpu]->vcpu.live.waits_for_function != 0) {
            waker_.wake(cpu);
        }
    }
}

bool Board::settle_function(unsigned function) {
    if (!pass_through_) {
        return true;
    }
    need_shared();
    return pass_through_->settle(function);
}

void Board::set_offer(OfferState::Source source, std::uint8_t vector) noexcept {
    if (offer_->source != source || offer_->vector != vector) {
        auto& offer = offer_.edit();
        offer.source = source;
        offer.vector = vector;
    }
}

std::optional<std::uint8_t> Board::choose_interrupt() {
    using Source = OfferState::Source;
    if (cpu_ == 0 && (state_.pic.live.output != 0 || offer_->source == Source::pic)) {
        need_shared();
    }
    // The PIC's interrupt has no priority in the local APIC; it goes first, as on processors.
    if (cpu_ == 0 && pic_.output() &&
        (local_apic_.passes_external() || io_apic_.passes_external())) {
        if (offer_->source == Source::local_apic) {
            local_apic_.withdraw();
        }
        set_offer(Source::pic, pic_.peek());
        return offer_->vector;
    }
    const auto vector = local_apic_.deliverable();
    if (vector >= 0) {
        set_offer(Source::local_apic, static_cast<std::uint8_t>(vector));
        local_apic_.offer(offer_->vector);
        return offer_->vector;
    }
    if (offer_->source == Source::local_apic) {
        local_apic_.withdraw();
    }
    set_offer(Source::none, offer_->vector);
    return std::nullopt;
}

void Board::interrupt_taken(std::uint8_t vector) {
    const auto source = offer_->source;
    set_offer(OfferState::Source::none, offer_->vector);
    if (source == OfferState::Source::pic) {
        need_shared();
        static_cast<void>(pic_.acknowledge());
    } else if (source == OfferState::Source::local_apic) {
        local_apic_.taken(vector);
    }
}

void Board::expire(std::uint64_t now_ns) {
    local_apic_.expire(now_ns);
    if (cpu_ != 0 || now_ns < shared_deadline()) {
        return;
    }
    need_shared();
    pit_.expire(now_ns);
    rtc_.expire(now_ns);
    acpi_pm_.expire(now_ns);
}

void Board::set_irq_line(unsigned irq, bool asserted) {
    if (irq >= first_function_line) {
        io_apic_.set_line(irq, asserted);
        return;
    }
    pic_.set_line(irq, asserted);
    io_apic_.set_line(irq == 0 ? 2 : irq, asserted);
}

bool Board::open_inbox() {
    return Inbox{cpus_.state[cpu_]->inbox.live}.take(
        transaction_.number(),
        [this](const ApicMessage& message) { local_apic_.receive(message); });
}

void Board::send(unsigned cpu, const ApicMessage& message) {
    if (cpu == cpu_) {
        local_apic_.receive(message);
        return;
    }
    Inbox{cpus_.state[cpu]->inbox.live}.post(message);
    waker_.wake(cpu);
}

unsigned Board::find(std::uint32_t apic_id) const noexcept {
    unsigned cpu = 0;
    while (cpu < cpus_.count && cpus_.state[cpu]->local_apic.live.id != apic_id) {
        ++cpu;
    }
    return cpu;
}

bool Board::send_to(std::uint32_t apic_id, const ApicMessage& message) {
    const auto cpu = find(apic_id);
    if (cpu == cpus_.count) {
        return false;
    }
    send(cpu, message);
    return true;
}

bool Board::kick(std::uint32_t apic_id) {
    const auto cpu = find(apic_id);
    if (cpu == cpus_.count) {
        return false;
    }
    Inbox{cpus_.state[cpu]->inbox.live}.kick();
    waker_.wake(cpu);
    return true;
}

/// Of those that the message names, the one with the lowest task priority; of several, they take turns by vector.
/// cpus_.count: it names none.
unsigned Board::choose_lowest(const ApicMessage& message) const noexcept {
    auto chosen = cpus_.count;
    for (unsigned i = 0; i < cpus_.count; ++i) {
        const auto cpu = (message.vector + i) % cpus_.count;
        const auto& apic = cpus_.state[cpu]->local_apic.live;
        if (LocalApic::accepts(apic, message.destination, message.logical) &&
            (chosen == cpus_.count ||
             apic.task_priority < cpus_.state[chosen]->local_apic.live.task_priority)) {
            chosen = cpu;
        }
    }
    return chosen;
}

void Board::deliver(const ApicMessage& message) {
    if (message.mode == DeliveryMode::lowest_priority) {
        const auto cpu = choose_lowest(message);
        if (cpu != cpus_.count) {
            send(cpu, message);
        }
        return;
    }
    for (unsigned cpu = 0; cpu < cpus_.count; ++cpu) {
        if (LocalApic::accepts(cpus_.state[cpu]->local_apic.live, message.destination,
                               message.logical)) {
            send(cpu, message);
        }
    }
}

std::optional<unsigned> Board::recipient(const ApicMessage& message) const {
    for (unsigned cpu = 0; cpu < cpus_.count; ++cpu) {
        if (LocalApic::accepts(cpus_.state[cpu]->local_apic.live, message.destination,
                               message.logical)) {
            return cpu;
        }
    }
    return std::nullopt;
}

void Board::broadcast(const ApicMessage& message, std::uint32_t, bool include_self) {
    for (unsigned cpu = 0; cpu < cpus_.count; ++cpu) {
        if (include_self || cpu != cpu_) {
            send(cpu, message);
        }
    }
}

void Board::input_served(unsigned pin) {
    if (pass_through_ && pin >= first_function_line) {
        pass_through_->line_completed(pin - first_function_line);
    }
}

void Board::end_of_interrupt(std::uint8_t vector) {
    need_shared();
    io_apic_.end_of_interrupt(vector);
}

}  // namespace margay::vmm

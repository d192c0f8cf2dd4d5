// Of PassThrough: the pages with the MSI-X tables, which are emulated, and the messages.
#include "servers/vmm/devices/pass_through.hpp"

#include <algorithm>
#include <bit>

namespace margay::vmm {

namespace {

constexpr std::uint64_t ones(unsigned width) {
    return width >= 8 ? ~0ULL : (1ULL << (8 * width)) - 1;
}

/// The longest access that begins at `gpa`, is aligned, and has at most `bytes`.
constexpr unsigned aligned_width(std::uint64_t gpa, unsigned bytes) {
    unsigned width = 8;
    while (width > bytes || (gpa & (width - 1)) != 0) width /= 2;
    return width;
}

/// As a local APIC takes it (Intel SDM vol. 3 §11.11); an address elsewhere is none.
std::optional<ApicMessage> to_apic_message(const InterruptMessage& m) {
    if (m.address >> 20 != 0xfee) return {};
    const bool logical = (m.address >> 2 & 1) != 0, is_hint = (m.address >> 3 & 1) != 0;
    auto mode = static_cast<DeliveryMode>(m.data >> 8 & 7);
    switch (mode) {
    case DeliveryMode::fixed:
        // The redirection hint: to one of those that are named.
        if (is_hint) mode = DeliveryMode::lowest_priority;
        break;
    case DeliveryMode::lowest_priority:
    case DeliveryMode::nmi:
    case DeliveryMode::init: break;
    default: return {};
    }
    const bool is_queued = mode == DeliveryMode::fixed || mode == DeliveryMode::lowest_priority;
    return ApicMessage{static_cast<std::uint32_t>(m.address >> 12 & 0xff),
                       static_cast<std::uint8_t>(m.data), mode, logical,
                       is_queued && (m.data >> 15 & 1) != 0};
}

}  // namespace

MsixTable PassThrough::table_of(unsigned function) const noexcept {
    const GuestFunction& f = functions_.function[function];
    return {f.first_message, f.messages, messages_};
}

bool PassThrough::all_masked(unsigned function) const noexcept {
    return !function_[function]->msix_on() || function_[function]->msix_masked();
}

// All of the real one, of which the guest may have been given less.
bool PassThrough::is_in_table(const Place& place) const noexcept {
    const FunctionPart& part = functions_.part[place.part];
    const GuestFunction& f = functions_.function[part.function];
    const std::uint64_t entries =
        std::max<unsigned>(function_[part.function]->real_messages(), f.messages);
    return part.bar == f.table_bar &&
           place.offset - f.table_offset < entries * MsixTable::entry_bytes;
}

bool PassThrough::is_in_pending(const Place& place) const noexcept {
    const FunctionPart& part = functions_.part[place.part];
    const GuestFunction& f = functions_.function[part.function];
    const std::uint64_t entries =
        std::max<unsigned>(function_[part.function]->real_messages(), f.messages);
    return part.bar == f.pending_bar && place.offset - f.pending_offset < (entries + 63) / 64 * 8;
}

std::uint64_t PassThrough::read_aligned(std::uint64_t gpa, unsigned width) {
    const std::optional<Place> place = find(gpa, true);
    if (!place) return ones(width);
    const FunctionPart& part = functions_.part[place->part];
    const GuestFunction& f = functions_.function[part.function];
    if (is_in_table(*place))
        return table_of(part.function).read(place->offset - f.table_offset, width);
    if (is_in_pending(*place))
        return table_of(part.function).read_pending(place->offset - f.pending_offset, width);
    if (is_resetting(part.function)) return ones(width);
    return hands_.read(place->part, place->offset - part.offset, width);
}

void PassThrough::write_aligned(std::uint64_t gpa, unsigned width, std::uint64_t value) {
    const std::optional<Place> place = find(gpa, true);
    if (!place) return;
    const FunctionPart& part = functions_.part[place->part];
    const GuestFunction& f = functions_.function[part.function];
    if (is_in_table(*place)) {
        MsixTable table = table_of(part.function);
        if (const auto number = table.write(place->offset - f.table_offset, width, value)) {
            direct(part.function, *number);
            deliver(table.take_pending(*number, all_masked(part.function)));
        }
    } else if (!is_in_pending(*place) && !is_resetting(part.function)) {
        hands_.write(place->part, place->offset - part.offset, width, value);
    }
}

std::uint64_t PassThrough::read(std::uint64_t gpa, unsigned width) {
    std::uint64_t value = 0;
    for (unsigned at = 0; at < width;) {
        const unsigned now = aligned_width(gpa + at, width - at);
        value |= read_aligned(gpa + at, now) << (8 * at);
        at += now;
    }
    return value;
}

void PassThrough::write(std::uint64_t gpa, unsigned width, std::uint64_t value) {
    for (unsigned at = 0; at < width;) {
        const unsigned now = aligned_width(gpa + at, width - at);
        write_aligned(gpa + at, now, value >> (8 * at) & ones(now));
        at += now;
    }
}

// What is asked for before it is committed is at worst asked for once more: wherever a message comes, the committed state says whose
// it is.
void PassThrough::direct(unsigned function, unsigned number) {
    PciFunction& f = *function_[function];
    const std::optional<InterruptMessage> sent = f.interrupts() == PciInterrupts::msi
                                                     ? f.msi().sent(number)
                                                     : table_of(function).sent(number);
    if (!sent) return;
    const std::optional<ApicMessage> message = to_apic_message(*sent);
    if (!message) return;
    if (const std::optional<unsigned> cpu = bus_.recipient(*message))
        hands_.direct(functions_.function[function].first_message + number, *cpu);
}

void PassThrough::direct(unsigned function) {
    const GuestFunction& f = functions_.function[function];
    for (unsigned i = 0; i < std::max<unsigned>(f.messages, f.msi_messages); ++i)
        direct(function, i);
}

void PassThrough::direct_all() {
    for (unsigned i = 0; i < count_; ++i) direct(i);
}

void PassThrough::deliver(const std::optional<InterruptMessage>& message) {
    if (!message) return;
    if (const std::optional<ApicMessage> m = to_apic_message(*message)) bus_.deliver(*m);
}

void PassThrough::deliver_pending_msi(Msi& msi) {
    if (!msi.has_pending()) return;
    for (unsigned i = 0; i < max_msi_messages; ++i) deliver(msi.take_pending(i));
}

void PassThrough::deliver_pending(unsigned function) {
    deliver_pending_msi(function_[function]->msi());
    if (messages_->pending == 0) return;
    MsixTable table = table_of(function);
    const bool masked = all_masked(function);
    for (unsigned i = 0; i < table.entries(); ++i) deliver(table.take_pending(i, masked));
}

void PassThrough::set_fired(unsigned line, bool fired) {
    for (unsigned i = 0; i < count_; ++i)
        if (function_[i]->line() == line + 1) function_[i]->set_line_fired(fired);
}

// Asserted from when it fires until the guest has served it, as long as a function of it interrupts that way. Else what has fired
// waits, and the node keeps it masked.
void PassThrough::update_line(unsigned line) {
    bool asserted = false;
    for (unsigned i = 0; i < count_; ++i) {
        const PciFunction& f = *function_[i];
        asserted |= f.line() == line + 1 && f.line_fired() && f.interrupts() == PciInterrupts::line;
    }
    lines_.set_irq_line(first_function_line + line, asserted);
}

// The level goes first: it comes again if it is still there.
void PassThrough::line_completed(unsigned line) {
    bool was_fired = false;
    for (unsigned i = 0; i < count_; ++i)
        was_fired |= function_[i]->line() == line + 1 && function_[i]->line_fired();
    if (!was_fired) return;
    set_fired(line, false);
    update_line(line);
    hands_.acknowledge(line);
}

void PassThrough::arrive(std::uint64_t numbers) {
    for (; numbers != 0; numbers &= numbers - 1) {
        const auto number = static_cast<unsigned>(std::countr_zero(numbers));
        if (number >= max_guest_messages) {
            set_fired(number - max_guest_messages, true);
            update_line(number - max_guest_messages);
            continue;
        }
        for (unsigned i = 0; i < count_; ++i) {
            const GuestFunction& f = functions_.function[i];
            const unsigned own = number - f.first_message;
            if (own >= std::max<unsigned>(f.messages, f.msi_messages)) continue;
            PciFunction& function = *function_[i];
            deliver(function.interrupts() == PciInterrupts::msi
                        ? function.msi().arrive(own)
                        : table_of(i).arrive(own, all_masked(i)));
        }
    }
}

// The node's own, in the real table. They are never masked: whether the guest wants them is decided here.
void PassThrough::set_up_messages(unsigned function) {
    const GuestFunction& f = functions_.function[function];
    for (unsigned p = 0; p < parts_; ++p) {
        const FunctionPart& part = functions_.part[p];
        if (part.function != function || part.bar != f.table_bar || part.is_trapped == 0) continue;
        for (unsigned i = 0; i < table_of(function).entries(); ++i) {
            const std::uint64_t offset =
                f.table_offset + std::uint64_t{i} * MsixTable::entry_bytes - part.offset;
            if (offset >= part.size) continue;
            if (const std::optional<InterruptMessage> m = hands_.message(f.first_message + i))
                set_up_entry({p, offset}, *m);
        }
    }
}

// Of an entry that is not masked, address and data must not change (PCI local bus specification 3.0 §6.8.2); one that a
// VMM before has set up is left as it is.
void PassThrough::set_up_entry(const Place& place, const InterruptMessage& message) {
    const auto get = [&](unsigned at) { return hands_.read(place.part, place.offset + at, 4); };
    const auto put = [&](unsigned at, std::uint64_t value) {
        hands_.write(place.part, place.offset + at, 4, value & 0xffff'ffff);
    };
    if (get(0) == (message.address & 0xffff'ffff) && get(4) == message.address >> 32 &&
        get(MsixTable::data_at) == message.data && (get(MsixTable::control_at) & 1) == 0)
        return;
    put(MsixTable::control_at, 1);
    put(0, message.address);
    put(4, message.address >> 32);
    put(MsixTable::data_at, message.data);
    put(MsixTable::control_at, 0);
}

}  // namespace margay::vmm

// Register access of the local APIC, by memory (xAPIC) and by MSR (x2APIC).

#include "servers/vmm/devices/local_apic.hpp"
#include "servers/vmm/devices/local_apic_bits.hpp"

namespace margay::vmm {

namespace {

// Register numbers: MMIO offset / 16, MSR - 0x800.
enum Register : unsigned {
    reg_id = 0x02,
    reg_version = 0x03,
    reg_task_priority = 0x08,
    reg_arbitration = 0x09,
    reg_processor_priority = 0x0a,
    reg_eoi = 0x0b,
    reg_remote_read = 0x0c,
    reg_logical_destination = 0x0d,
    reg_destination_format = 0x0e,
    reg_spurious = 0x0f,
    reg_in_service = 0x10,
    reg_level = 0x18,
    reg_requests = 0x20,
    reg_error_status = 0x28,
    reg_lvt_cmci = 0x2f,
    reg_icr_low = 0x30,
    reg_icr_high = 0x31,
    reg_lvt_timer = 0x32,
    reg_lvt_error = 0x37,
    reg_timer_initial = 0x38,
    reg_timer_current = 0x39,
    reg_timer_divide = 0x3e,
    reg_self_ipi = 0x3f,
};

constexpr std::uint32_t version = 0x14 | (5U << 16);  // integrated APIC, six LVT entries
constexpr std::uint64_t icr_logical = 1U << 11;
constexpr std::uint64_t icr_level = 1U << 15;
constexpr std::uint64_t icr_assert = 1U << 14;
constexpr std::uint64_t icr_low_writable = 0x000c'cfff;

std::uint32_t bitmap_word(const std::uint64_t (&bitmap)[4], unsigned index) noexcept {
    return static_cast<std::uint32_t>(bitmap[(index >> 1) & 3] >> ((index & 1) * 32));
}

}  // namespace

bool LocalApic::read_register(unsigned index, std::uint32_t& value) {
    switch (index) {
    case reg_id: value = x2apic() ? state_->id : state_->id << 24; return true;
    case reg_version: value = version; return true;
    case reg_task_priority: value = state_->task_priority; return true;
    case reg_processor_priority:
        sync_eoi_assist();
        value = processor_priority();
        return true;
    case reg_logical_destination:
        value = x2apic() ? (state_->id >> 4) << 16 | 1U << (state_->id & 15)
                         : state_->logical_destination;
        return true;
    case reg_spurious: value = state_->spurious; return true;
    case reg_error_status: value = state_->error_status; return true;
    case reg_icr_low: value = static_cast<std::uint32_t>(state_->icr); return true;
    case reg_timer_initial: value = state_->timer_initial; return true;
    case reg_timer_current: value = timer_current(); return true;
    case reg_timer_divide: value = state_->timer_divide; return true;
    default: break;
    }
    if (index >= reg_lvt_timer && index <= reg_lvt_error) {
        value = state_->lvt[index - reg_lvt_timer];
        return true;
    }
    if (index >= reg_in_service && index < reg_level) {
        sync_eoi_assist();
        value = bitmap_word(state_->in_service, index - reg_in_service);
        return true;
    }
    if (index >= reg_level && index < reg_requests) {
        value = bitmap_word(state_->level, index - reg_level);
        return true;
    }
    if (index >= reg_requests && index < reg_error_status) {
        value = bitmap_word(state_->requests, index - reg_requests);
        return true;
    }
    return false;
}

bool LocalApic::write_register(unsigned index, std::uint32_t value) {
    switch (index) {
    case reg_eoi: end_of_interrupt(); return true;
    case reg_task_priority: set_task_priority(static_cast<std::uint8_t>(value)); return true;
    case reg_timer_initial: start_timer(value); return true;
    case reg_spurious: write_spurious(value); return true;
    case reg_error_status: {
        auto& state = state_.edit();
        state.error_status = state.error_pending;
        state.error_pending = 0;
        return true;
    }
    case reg_timer_divide: {
        expire_if_due();
        // Counting goes on from the present count at the new rate.
        const auto left = timer_current();
        state_.edit().timer_divide = value & 0x0b;
        rescale_timer(left);
        return true;
    }
    default: break;
    }
    if (index >= reg_lvt_timer && index <= reg_lvt_error) {
        write_lvt(index - reg_lvt_timer, value);
        return true;
    }
    return false;
}

void LocalApic::write_lvt(unsigned entry, std::uint32_t value) {
    static constexpr std::uint32_t writable[6] = {0x0007'00ff, 0x0001'07ff, 0x0001'07ff,
                                                  0x0001'a7ff, 0x0001'a7ff, 0x0001'00ff};
    if (entry == apic::lvt_timer) {
        expire_if_due();
    }
    auto next = value & writable[entry];
    if (!software_enabled()) {
        next |= apic::lvt_masked;
    }
    const auto before = state_->lvt[entry];
    state_.edit().lvt[entry] = next;
    if (entry == apic::lvt_timer && ((before ^ next) & apic::timer_mode) != 0) {
        timer_mode_changed(before);
    }
}

void LocalApic::write_spurious(std::uint32_t value) {
    state_.edit().spurious = value & 0x3ff;
    if (!software_enabled()) {
        for (auto& entry : state_.edit().lvt) {
            entry |= apic::lvt_masked;
        }
    }
}

MsrResult LocalApic::write_base(std::uint64_t value) {
    constexpr auto modes = apic::base_enable | apic::base_x2apic;
    const auto address = ((1ULL << physical_bits_) - 1) & ~0xfffULL;
    if ((value & ~(address | modes | apic::base_bsp)) != 0) {
        return MsrResult::fault;
    }
    // Which processor is the boot processor is read only.
    value = (value & ~apic::base_bsp) | (state_->base & apic::base_bsp);
    const auto mode = value & modes;
    const auto was = state_->base & modes;
    // Of the modes x2APIC cannot be left but by disabling (APM vol. 2 §16.9).
    if (mode == apic::base_x2apic || (was == modes && mode == apic::base_enable) ||
        (was == 0 && mode == modes)) {
        return MsrResult::fault;
    }
    state_.edit().base = value;
    if (mode == 0 && was != 0) {
        const auto id = state_->id;
        const auto assist = state_->eoi_assist;
        auto& state = state_.edit();
        reset(state, id, false);
        state.base = value;
        state.spurious = 0xff;
        for (auto& entry : state.lvt) {
            entry = apic::lvt_masked;
        }
        state.eoi_assist = assist;
    }
    update();
    return MsrResult::done;
}

std::uint64_t LocalApic::mmio_read(std::uint32_t offset, unsigned width) {
    const auto value = mmio_register((offset & 0xfff) >> 4);
    if (width == 4 && (offset & 15) == 0) [[likely]] {
        return value;
    }
    const auto at = offset & 15;
    const auto shifted = at >= 4 ? 0ULL : static_cast<std::uint64_t>(value) >> (8 * at);
    return width >= 8 ? shifted : shifted & ((1ULL << (8 * width)) - 1);
}

std::uint32_t LocalApic::mmio_register(unsigned index) {
    std::uint32_t value = 0;
    if (index == reg_icr_high) {
        return static_cast<std::uint32_t>(state_->icr >> 32);
    }
    if (index == reg_destination_format) {
        return state_->destination_format;
    }
    if (!read_register(index, value) && index != reg_arbitration && index != reg_remote_read) {
        error(apic::error_register);
    }
    return value;
}

void LocalApic::mmio_write(std::uint32_t offset, unsigned width, std::uint64_t wide) {
    if (width != 4 || (offset & 15) != 0) {
        return;
    }
    const auto index = (offset & 0xfff) >> 4;
    const auto value = static_cast<std::uint32_t>(wide);
    switch (index) {
    case reg_id:  // fixed: the tables name it
    case reg_version: return;
    case reg_logical_destination: state_.edit().logical_destination = value & 0xff00'0000; return;
    case reg_destination_format: state_.edit().destination_format = value | 0x0fff'ffff; return;
    case reg_icr_high:
        state_.edit().icr =
            (state_->icr & 0xffff'ffff) | static_cast<std::uint64_t>(value & 0xff00'0000) << 32;
        return;
    case reg_icr_low: send((state_->icr & ~0xffff'ffffULL) | value); return;
    default:
        if (!write_register(index, value)) {
            error(apic::error_register);
        }
        return;
    }
}

MsrResult LocalApic::x2apic_read(std::uint32_t msr, std::uint64_t& value) {
    if (!x2apic()) {
        return MsrResult::fault;
    }
    const auto index = msr & 0xff;
    if (index == reg_icr_low) {
        value = state_->icr;
        return MsrResult::done;
    }
    std::uint32_t low = 0;
    if (!read_register(index, low)) {
        return MsrResult::fault;
    }
    value = low;
    return MsrResult::done;
}

MsrResult LocalApic::x2apic_write(std::uint32_t msr, std::uint64_t value) {
    if (!x2apic()) {
        return MsrResult::fault;
    }
    const auto index = msr & 0xff;
    if (index == reg_eoi && value == 0) [[likely]] {
        end_of_interrupt();
        return MsrResult::done;
    }
    return x2apic_write_other(index, value);
}

[[gnu::noinline]] MsrResult LocalApic::x2apic_write_other(unsigned index, std::uint64_t value) {
    if (index == reg_icr_low) {
        if ((value & 0xffff'ffff & ~(icr_low_writable | 1U << 12)) != 0) {
            return MsrResult::fault;
        }
        send(value);
        return MsrResult::done;
    }
    if (value >> 32 != 0) {
        return MsrResult::fault;
    }
    const auto low = static_cast<std::uint32_t>(value);
    switch (index) {
    case reg_eoi:
    case reg_error_status:
        if (low != 0) {
            return MsrResult::fault;
        }
        break;
    case reg_task_priority:
        if (low > 0xff) {
            return MsrResult::fault;
        }
        break;
    case reg_self_ipi:
        if (low > 0xff) {
            return MsrResult::fault;
        }
        self_ipi(static_cast<std::uint8_t>(low));
        return MsrResult::done;
    default: break;
    }
    return write_register(index, low) ? MsrResult::done : MsrResult::fault;
}

void LocalApic::self_ipi(std::uint8_t vector) {
    if (vector < 16) {
        error(apic::error_send_vector);
        return;
    }
    receive({state_->id, vector, DeliveryMode::fixed, false, false});
}

void LocalApic::send(std::uint64_t icr) {
    // In x2APIC mode the upper half is the whole destination, otherwise its top byte.
    state_.edit().icr = (icr & ~0xffff'ffffULL) | (icr & icr_low_writable);
    const auto vector = static_cast<std::uint8_t>(icr);
    const auto mode = static_cast<DeliveryMode>((icr >> 8) & 7);
    const auto fixed = mode == DeliveryMode::fixed || mode == DeliveryMode::lowest_priority;
    if (fixed && vector < 16) {
        error(apic::error_send_vector);
        return;
    }
    if (mode == DeliveryMode::init && (icr & (icr_level | icr_assert)) == icr_level) {
        return;  // INIT level de-assert only synchronises arbitration of old buses
    }
    const auto high = static_cast<std::uint32_t>(icr >> 32);
    const ApicMessage message{x2apic() ? high : high >> 24, vector, mode, (icr & icr_logical) != 0,
                              false};
    switch ((icr >> 18) & 3) {
    case 0: bus_.deliver(message); break;
    case 1:
        if (fixed) {
            self_ipi(vector);
        } else {
            receive(message);
        }
        break;
    case 2: bus_.broadcast(message, state_->id, true); break;
    default: bus_.broadcast(message, state_->id, false); break;
    }
}

}  // namespace margay::vmm

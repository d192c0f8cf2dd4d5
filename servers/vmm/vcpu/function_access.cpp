#include "servers/vmm/vcpu/function_access.hpp"

#include "libipc/log.hpp"
#include "libipc/mapping.hpp"
#include "support/address.hpp"

namespace margay::vmm {

namespace {

template <typename T>
volatile T& register_at(std::uint64_t address) {
    return *reinterpret_cast<volatile T*>(address);
}

}  // namespace

// Uncached, whatever the guest makes of it: its page tables can ask for less caching only, and some processors take their
// word for more.
//
// Where something is in the way of the whole part, the page that was touched counts. If that is there by now, another vCPU
// was faster, or a VMM that has just been replaced has mapped it and is not buried: the guest is to try again, and finds it,
// or touches it once more. What is emulated instead would be lost for the device.
bool FunctionAccess::map(unsigned part, std::uint64_t gpa, std::uint64_t touched) {
    const FunctionPart& p = functions_.part[part];
    if (p.memory >= slots_.parts) return false;
    const Slot slot = slot_of(part);
    const Result<ExtentInfo> info = query_memory(slot);
    if (!info || info->size < p.size) return false;
    const Extent extent{slot, info->base, info->size};
    constexpr std::uint64_t rights = map_right::read_write | map_right::uncached;
    if (is_whole_[part] && mapped_at_[part] == gpa) return true;
    // With what there is of it in single pages, or elsewhere.
    unmap(part);
    mapped_at_[part] = gpa;
    Status s = map_all(extent, slots_.space, gpa, 0, p.size, rights);
    is_whole_[part] = s == Status::ok;
    if (s != Status::ok) revoke(slot);
    if (s == Status::occupied) {
        const std::uint64_t page = align_down(touched, page_size);
        s = margay::map(slot, slots_.space, page, page - gpa, page_size, rights);
    }
    return s == Status::ok || s == Status::occupied;
}

void FunctionAccess::unmap(unsigned part) {
    if (mapped_at_[part] == 0) return;
    revoke(slot_of(part));
    mapped_at_[part] = 0;
    is_whole_[part] = false;
}

std::uint64_t FunctionAccess::read(unsigned part, std::uint64_t offset, unsigned width) {
    const std::uint64_t address = functions_.part[part].address + offset;
    switch (width) {
    case 1: return register_at<std::uint8_t>(address);
    case 2: return register_at<std::uint16_t>(address);
    case 4: return register_at<std::uint32_t>(address);
    default: return register_at<std::uint64_t>(address);
    }
}

void FunctionAccess::write(unsigned part, std::uint64_t offset, unsigned width,
                           std::uint64_t value) {
    const std::uint64_t address = functions_.part[part].address + offset;
    switch (width) {
    case 1: register_at<std::uint8_t>(address) = static_cast<std::uint8_t>(value); return;
    case 2: register_at<std::uint16_t>(address) = static_cast<std::uint16_t>(value); return;
    case 4: register_at<std::uint32_t>(address) = static_cast<std::uint32_t>(value); return;
    default: register_at<std::uint64_t>(address) = value; return;
    }
}

// The capability has these ports and no others.
std::uint32_t FunctionAccess::port_read(unsigned part, std::uint64_t offset, unsigned width) {
    const auto port = static_cast<std::uint16_t>(functions_.part[part].address + offset);
    return margay::port_read(slot_of(part), port, width);
}

void FunctionAccess::port_write(unsigned part, std::uint64_t offset, unsigned width,
                                std::uint32_t value) {
    const auto port = static_cast<std::uint16_t>(functions_.part[part].address + offset);
    (void)margay::port_write(slot_of(part), port, width, value);
}

void FunctionAccess::acknowledge(unsigned line) {
    if (line < slots_.lines) (void)irq_ctl(slots_.first_line + line, IrqOp::acknowledge);
}

void FunctionAccess::want(unsigned function, std::uint64_t word) {
    std::atomic<std::uint64_t>& wanted = control_.function[function].wanted;
    if (wanted.load() == word) return;
    wanted.store(word);
    if (slots_.supervisor != no_slot) (void)signal(slots_.supervisor, slots_.supervisor_bits);
}

std::uint64_t FunctionAccess::granted(unsigned function) {
    return control_.function[function].granted.load();
}

void FunctionAccess::direct(unsigned number, unsigned cpu) {
    if (number >= max_guest_messages) return;
    std::atomic<std::uint8_t>& to = control_.message_cpu[number];
    if (to.load() == cpu) return;
    to.store(static_cast<std::uint8_t>(cpu));
    if (slots_.supervisor != no_slot) (void)signal(slots_.supervisor, slots_.supervisor_bits);
}

std::optional<InterruptMessage> FunctionAccess::message(unsigned number) {
    if (number >= slots_.messages) return {};
    const Result<MessageAddress> m = query_message(slots_.first_message + number);
    if (!m) {
        log("message {} of the PCI functions: {}\n", number, to_text(m.status()));
        return {};
    }
    return InterruptMessage{m->address, static_cast<std::uint32_t>(m->data)};
}

}  // namespace margay::vmm

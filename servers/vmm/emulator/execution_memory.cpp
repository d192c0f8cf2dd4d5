// Memory operands of an instruction: segmentation, translation, access.
#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/emulator/execution.hpp"
#include "servers/vmm/emulator/instruction_fetch.hpp"

#include <cstring>

namespace margay::vmm {

namespace {

constexpr unsigned ss_index = 2;

const SegmentState& segment_of(const VcpuState& s, unsigned index) {
    const SegmentState* const segments[] = {&s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs};
    return *segments[index];
}

/// Whether rights and limit of a segment allow the access (AMD APM vol. 2 §4.12).
bool segment_allows(const SegmentState& segment, const CpuMode& mode, std::uint64_t offset,
                    unsigned width, AccessKind kind) {
    using namespace segment_attribute;
    const bool is_code = (segment.attributes & code) != 0;
    if (mode.has(CpuMode::segmented)) {
        const bool allowed = kind == AccessKind::write
                                 ? !is_code && (segment.attributes & writable_or_readable) != 0
                                 : !is_code || (segment.attributes & writable_or_readable) != 0;
        if (!allowed || (segment.attributes & present) == 0) {
            return false;
        }
        if (!is_code && (segment.attributes & expand_down) != 0) {
            const std::uint64_t top = (segment.attributes & big) != 0 ? 0xffff'ffff : 0xffff;
            return offset > segment.limit && offset + width - 1 <= top;
        }
    }
    return offset + width - 1 <= segment.limit;
}

std::uint64_t load_ram(const std::byte* ram, unsigned bytes) {
    std::uint64_t value = 0;
    switch (bytes) {
    case 1: std::memcpy(&value, ram, 1); break;
    case 2: std::memcpy(&value, ram, 2); break;
    case 4: std::memcpy(&value, ram, 4); break;
    case 8: std::memcpy(&value, ram, 8); break;
    default: std::memcpy(&value, ram, bytes); break;
    }
    return value;
}

void store_ram(std::byte* ram, std::uint64_t value, unsigned bytes) {
    switch (bytes) {
    case 1: std::memcpy(ram, &value, 1); break;
    case 2: std::memcpy(ram, &value, 2); break;
    case 4: std::memcpy(ram, &value, 4); break;
    case 8: std::memcpy(ram, &value, 8); break;
    default: std::memcpy(ram, &value, bytes); break;
    }
}

/// The longest access that begins at `gpa`, is a power of two and aligned, and at most `bytes`.
unsigned bus_width(std::uint64_t gpa, unsigned bytes) {
    unsigned width = 8;
    while (width > bytes || (gpa & (width - 1)) != 0) {
        width /= 2;
    }
    return width;
}

constexpr bool is_power_of_two(unsigned bytes) { return (bytes & (bytes - 1)) == 0; }

}  // namespace

bool Execution::to_linear(unsigned segment, std::uint64_t offset, unsigned width, AccessKind kind,
                          std::uint64_t& linear) noexcept {
    if (mode_.is_64bit()) {
        linear = linear_64bit(s_, segment, offset);
        if (is_canonical(linear, mode_.linear_bits()) &&
            is_canonical(linear + width - 1, mode_.linear_bits())) {
            return true;
        }
    } else {
        const auto& described = segment_of(s_, segment);
        linear = (described.base + offset) & 0xffff'ffff;
        if (segment_allows(described, mode_, offset, width, kind)) {
            return true;
        }
    }
    return raise(segment == ss_index ? exception_vector::stack_fault
                                     : exception_vector::general_protection,
                 0);
}

bool Execution::translate_part(std::uint64_t linear, unsigned bytes, AccessKind kind,
                               MemoryOperand::Part& part) noexcept {
    const PageTranslation* page = nullptr;
    const auto walked = cache_.translate(memory_, mode_, s_.cr3, linear, kind, page);
    if (walked.status != WalkStatus::ok) {
        if (walked.status == WalkStatus::page_fault) {
            inject_page_fault(s_, result_, walked.error_code, linear);
            return false;
        }
        return give_up("a page table of the guest is not in RAM");
    }
    const auto offset = linear & 0xfff;
    part = {page->gpa + offset, page->ram == nullptr ? nullptr : page->ram + offset, bytes};
    address_seen_ |= exit_gpa_ - part.gpa < bytes;
    return true;
}

bool Execution::operand_slowly(unsigned segment, std::uint64_t offset, unsigned width,
                               AccessKind kind, MemoryOperand& operand) noexcept {
    std::uint64_t linear = 0;
    if (!to_linear(segment, offset, width, kind, linear)) {
        return false;
    }
    const auto room = static_cast<unsigned>(0x1000 - (linear & 0xfff));
    operand.second.bytes = 0;
    if (width <= room) {
        return translate_part(linear, width, kind, operand.first);
    }
    const std::uint64_t next = mode_.is_64bit() ? linear + room : (linear + room) & 0xffff'ffff;
    return translate_part(linear, room, kind, operand.first) &&
           translate_part(next, width - room, kind, operand.second);
}

std::uint64_t Execution::load_part(const MemoryOperand::Part& part) noexcept {
    if (part.ram != nullptr) {
        return load_ram(part.ram, part.bytes);
    }
    if (is_power_of_two(part.bytes)) [[likely]] {
        return bus_.mmio_read(part.gpa, part.bytes);
    }
    std::uint64_t value = 0;
    for (unsigned at = 0; at < part.bytes;) {
        const unsigned width = bus_width(part.gpa + at, part.bytes - at);
        value |= bus_.mmio_read(part.gpa + at, width) << (8 * at);
        at += width;
    }
    return value;
}

void Execution::store_part(const MemoryOperand::Part& part, std::uint64_t value) noexcept {
    if (part.ram != nullptr) {
        store_ram(part.ram, value, part.bytes);
        return;
    }
    if (is_power_of_two(part.bytes)) [[likely]] {
        bus_.mmio_write(part.gpa, part.bytes, value & width_mask(part.bytes));
        return;
    }
    for (unsigned at = 0; at < part.bytes;) {
        const unsigned width = bus_width(part.gpa + at, part.bytes - at);
        bus_.mmio_write(part.gpa + at, width, (value >> (8 * at)) & width_mask(width));
        at += width;
    }
}

std::uint64_t Execution::load_parts(const MemoryOperand& operand) noexcept {
    std::uint64_t value = load_part(operand.first);
    if (operand.second.bytes != 0) {
        value |= load_part(operand.second) << (8 * operand.first.bytes);
    }
    return value;
}

void Execution::store_parts(const MemoryOperand& operand, std::uint64_t value) noexcept {
    store_part(operand.first, value);
    if (operand.second.bytes != 0) {
        store_part(operand.second, value >> (8 * operand.first.bytes));
    }
}

unsigned Execution::stack_width() const noexcept {
    return mode_.is_64bit() ? 8 : (s_.ss.attributes & segment_attribute::big) != 0 ? 4 : 2;
}

}  // namespace margay::vmm

// What a unit of VT-d has kept from happening (Intel Virtualization Technology for Directed I/O specification §7.3, §11.4.9 ff.). Pure over the
// registers, so that host tests run it against a model.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/iommu/fault.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/unit.hpp"

namespace margay::iommu::vtd {

namespace fault_status {
constexpr std::uint32_t overflow = 1 << 0;  // cleared by ones
constexpr std::uint32_t queue_error = 1 << 4, completion_error = 1 << 5, timeout = 1 << 6;
constexpr std::uint32_t errors = queue_error | completion_error | timeout;
}  // namespace fault_status

// Reasons (§7.1, appendix): 1 to 4 and 7 to 0Dh are of tables and requests, 20h to 26h of interrupts.
constexpr Fault::Kind kind_of(unsigned reason, bool is_read) {
    using Kind = Fault::Kind;
    if (reason >= 0x20) return Kind::interrupt;
    switch (reason) {
    case 0x01:                                             // no root entry
    case 0x02:                                             // no context entry
    case 0x04:                                             // an address beyond the tables' reach
    case 0x05:                                             // no right to write
    case 0x06: return is_read ? Kind::read : Kind::write;  // no right to read
    case 0x07:                                             // next table
    case 0x08:                                             // root table
    case 0x09: return Kind::bad_tables;                    // context table
    default: return Kind::bad_request;
    }
}

template <typename Registers>
class FaultRecords {
  public:
    FaultRecords(Registers registers, const Capabilities& has)
        : registers_{registers}, count_{has.fault_records()}, first_{has.fault_offset()} {}

    // By that message, which is not remapped: the unit itself sends it.
    void start(std::uint64_t address, std::uint32_t data) {
        registers_.write32(reg::fault_data, data);
        registers_.write32(reg::fault_address, static_cast<std::uint32_t>(address));
        registers_.write32(reg::fault_upper_address, static_cast<std::uint32_t>(address >> 32));
        drop();
    }
    void set_interrupts(bool on) {
        constexpr std::uint32_t masked = 1u << 31;
        registers_.write32(reg::fault_control, on ? 0 : masked);
    }

    // The next one. Records are a ring, and the unit says where the first is that it wrote. False: there is none.
    bool take(Fault& f) {
        const std::uint32_t s = registers_.read32(reg::fault_status);
        if ((s & fault_status::errors) != 0) {
            registers_.write32(reg::fault_status, s & fault_status::errors);
            f = {(s & fault_status::timeout) != 0 ? Fault::Kind::does_not_forget
                                                  : Fault::Kind::bad_command,
                 0, 0};
            return true;
        }
        const unsigned from = s >> 8 & 0xff;
        for (unsigned n = 0; n < count_; ++n) {
            const unsigned at = first_ + (from + n) % count_ * 16;
            const std::uint64_t high = registers_.read(at + 8);
            if ((high & is_there) == 0) continue;
            const std::uint64_t low = registers_.read(at);
            registers_.write32(at + 12, static_cast<std::uint32_t>(is_there >> 32));
            const auto reason = static_cast<unsigned>(high >> 32 & 0xff);
            f = {kind_of(reason, (high >> 62 & 1) != 0), static_cast<Requester>(high),
                 // Of an interrupt: the handle.
                 reason >= 0x20 ? low >> 48 : low & ~std::uint64_t{4095}};
            return true;
        }
        return false;
    }
    // Faults that had no record are lost; later ones are recorded again.
    void end() {
        const std::uint32_t s = registers_.read32(reg::fault_status);
        if ((s & fault_status::overflow) != 0)
            registers_.write32(reg::fault_status, fault_status::overflow);
    }
    void drop() {
        Fault f;
        // Devices may go on failing.
        for (unsigned n = 0; n <= count_ && take(f); ++n) {}
        end();
    }

  private:
    static constexpr std::uint64_t is_there = 1ull << 63;

    Registers registers_;
    unsigned count_, first_;
};

}  // namespace margay::iommu::vtd

// PCI configuration space by ports (PCI local bus specification 3.0 §3.2.2.3.2): while the node starts, before anybody else
// uses them.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

struct PortConfig {
    static std::uint32_t read(Requester r, unsigned offset) {
        select(r, offset);
        return cpu::in32(data);
    }
    static void write(Requester r, unsigned offset, std::uint32_t value) {
        select(r, offset);
        cpu::out32(data, value);
    }

  private:
    static constexpr std::uint16_t index = 0xcf8, data = 0xcfc;
    static void select(Requester r, unsigned offset) {
        cpu::out32(index, 1u << 31 | static_cast<std::uint32_t>(r) << 8 | offset);
    }
};

}  // namespace margay::iommu

#pragma once

#include <cstdint>
#include <optional>

namespace margay::vmm {

/// Delivery modes of interrupt messages (AMD APM vol. 2 §16.5, Intel SDM vol. 3 §11.5.1).
enum class DeliveryMode : std::uint8_t {
    fixed = 0,
    lowest_priority = 1,
    smi = 2,
    nmi = 4,
    init = 5,
    startup = 6,
    external = 7,
};

/// One interrupt message between I/O APIC and local APICs.
struct ApicMessage {
    std::uint32_t destination;  ///< APIC id, or logical destination
    std::uint8_t vector;
    DeliveryMode mode;
    bool logical;
    bool level;  ///< level triggered: the local APIC's EOI goes to the I/O APIC
};

/// What connects the APICs of a VM.
class ApicBus {
  public:
    /// Deliver to every local APIC that the destination names.
    virtual void deliver(const ApicMessage& message) = 0;

    /// The vCPU with such an APIC; of several, the first. Nothing: there is none.
    [[nodiscard]] virtual std::optional<unsigned> recipient(const ApicMessage& message) const = 0;

    /// An inter-processor interrupt to all; the sender's id is left out unless `include_self`.
    virtual void broadcast(const ApicMessage& message, std::uint32_t sender, bool include_self) = 0;

    /// A level-triggered vector was completed.
    virtual void end_of_interrupt(std::uint8_t vector) = 0;

    /// A level-triggered input of the I/O APIC was served. Whoever holds it may release it now, before it is looked at again.
    virtual void input_served(unsigned /*pin*/) {}

  protected:
    ~ApicBus() = default;
};

}  // namespace margay::vmm

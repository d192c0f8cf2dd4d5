// What PassThrough does to the real functions, by way of the kernel and the supervisor.
#pragma once
#include "libipc/system_call.hpp"
#include "proto/guest_function.hpp"
#include "proto/vm_control.hpp"
#include "servers/vmm/devices/function_hands.hpp"

namespace margay::vmm {

class FunctionAccess final : public FunctionHands {
  public:
    // Items of the start-up block (proto/vmm.hpp); no_slot if one is missing.
    struct Slots {
        Slot first_part, space, first_message, first_line, supervisor;
        std::uint64_t parts, messages, lines;  // so many slots
        std::uint64_t supervisor_bits;
    };
    FunctionAccess(const GuestFunctions& functions, VmControl& control, const Slots& slots)
        : functions_{functions}, control_{control}, slots_{slots} {}

    [[nodiscard]] bool map(unsigned part, std::uint64_t gpa, std::uint64_t touched) override;
    void unmap(unsigned part) override;
    [[nodiscard]] std::uint64_t read(unsigned part, std::uint64_t offset, unsigned width) override;
    void write(unsigned part, std::uint64_t offset, unsigned width, std::uint64_t value) override;
    [[nodiscard]] std::uint32_t port_read(unsigned part, std::uint64_t offset,
                                          unsigned width) override;
    void port_write(unsigned part, std::uint64_t offset, unsigned width,
                    std::uint32_t value) override;
    void acknowledge(unsigned line) override;
    void want(unsigned function, std::uint64_t word) override;
    [[nodiscard]] std::uint64_t granted(unsigned function) override;
    [[nodiscard]] std::optional<InterruptMessage> message(unsigned number) override;
    void direct(unsigned number, unsigned cpu) override;

  private:
    Slot slot_of(unsigned part) const { return slots_.first_part + functions_.part[part].memory; }

    const GuestFunctions& functions_;
    VmControl& control_;
    Slots slots_;
    std::uint64_t mapped_at_[max_function_parts] = {};  // guest-physical; 0: nowhere
    bool is_whole_[max_function_parts] = {};            // else single pages of it
};

}  // namespace margay::vmm

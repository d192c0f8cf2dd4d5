#pragma once

#include "servers/vmm/devices/interrupt_message.hpp"

#include <cstdint>
#include <optional>

namespace margay::vmm {

/// What is done to the real functions of a VM, of which PassThrough says when. Parts, functions and messages go by their
/// indices in GuestFunctions. One for all vCPUs: called under the board lock.
class FunctionHands {
  public:
    /// Let the guest reach that part at `gpa`, a multiple of the page size, after it has touched `touched` within it. It, or some
    /// of its pages, may be there already, by a VMM before this one. False: nothing can be where the guest has touched.
    [[nodiscard]] virtual bool map(unsigned part, std::uint64_t gpa, std::uint64_t touched) = 0;
    /// When it returns, no vCPU reaches the part any more. It may be nowhere already.
    virtual void unmap(unsigned part) = 0;

    /// Of a trapped part; `width` 1, 2, 4 or 8, aligned.
    [[nodiscard]] virtual std::uint64_t read(unsigned part, std::uint64_t offset,
                                             unsigned width) = 0;
    virtual void write(unsigned part, std::uint64_t offset, unsigned width,
                       std::uint64_t value) = 0;

    /// Of a part that is ports; `width` 1, 2 or 4, within the part.
    [[nodiscard]] virtual std::uint32_t port_read(unsigned part, std::uint64_t offset,
                                                  unsigned width) = 0;
    virtual void port_write(unsigned part, std::uint64_t offset, unsigned width,
                            std::uint32_t value) = 0;

    /// See FunctionControl. Asking again for the same costs nothing.
    virtual void want(unsigned function, std::uint64_t word) = 0;
    [[nodiscard]] virtual std::uint64_t granted(unsigned function) = 0;

    /// A line that has fired may fire again.
    virtual void acknowledge(unsigned line) = 0;

    /// What the function has to write for that message of the VM.
    [[nodiscard]] virtual std::optional<InterruptMessage> message(unsigned number) = 0;

    /// Have that message of the VM come to that vCPU. Asking again for the same costs nothing. It may go on to come to another one.
    virtual void direct(unsigned number, unsigned cpu) = 0;

  protected:
    ~FunctionHands() = default;
};

}  // namespace margay::vmm

// A guest as a script. Each step is one instruction whose real bytes lie in guest RAM, where the VMM finds
// them; what the instruction does in the processor, up to its exit, is done here. All of a guest's state is
// in its registers and RAM: it can be saved, restored, and served by one VMM after the other.
//
// Whatever an instruction yields is mixed into a sum (R14), which the guest prints at its end. So its output
// tells whether it ever saw something else than the run without disturbance.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ukernel/object/vcpu.hpp"

namespace margay::host_node {

class GuestScript {
  public:
    // Builders, in the order of execution.
    GuestScript& out(std::uint16_t port, std::uint32_t value, unsigned width = 1);
    GuestScript& in(std::uint16_t port, unsigned width = 1);
    // Each byte by an exit of its own.
    GuestScript& say(std::string_view text);
    // By REP OUTSB. At most 64 bytes.
    GuestScript& say_string(std::string_view text);
    // REP INSB of `count` bytes from the port.
    GuestScript& in_string(std::uint16_t port, unsigned count);
    GuestScript& write_msr(std::uint32_t index, std::uint64_t value);
    GuestScript& read_msr(std::uint32_t index);
    GuestScript& cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0);
    GuestScript& hypercall(std::uint64_t number);
    GuestScript& mmio_write(std::uint32_t address, std::uint32_t value);
    GuestScript& mmio_read(std::uint32_t address);
    GuestScript& write_cr8(std::uint64_t value);
    GuestScript& read_cr8();
    GuestScript& cache_flush();  // WBINVD
    GuestScript& rdpmc();        // the VMM answers with #GP
    GuestScript& pause();        // PAUSE, intercepted
    GuestScript& interrupt_window();
    // Ends of a guest: none of these can be answered.
    GuestScript& exception(std::uint64_t vector, std::uint64_t error);
    GuestScript& triple_fault();
    GuestScript& invalid_state();
    // Sleeps until an interrupt was taken.
    GuestScript& wait();
    // Sends the byte that the step before has received.
    GuestScript& echo_last();
    // Prints the sum as 16 digits.
    GuestScript& say_sum();
    GuestScript& power_off();

    // A bzImage with the instructions.
    std::vector<std::byte> image() const;
    // The script whose image the guest was loaded from; rubbish if it was none.
    static const GuestScript* loaded_in(const Vcpu& v);

    std::size_t steps() const { return steps_.size(); }

    // From an entry to the next exit, which is in the VMCB then.
    void run(Vcpu& v) const;
    // The entry alone: what is injected is delivered. For an interrupt of the host before anything else.
    static void enter(Vcpu& v);

  private:
    static void take(Vcpu& v, std::uint64_t vector);
    enum class Kind {
        out,
        in,
        out_string,
        in_string,
        write_msr,
        read_msr,
        cpuid,
        hypercall,
        mmio_write,
        mmio_read,
        write_cr8,
        read_cr8,
        cache_flush,
        rdpmc,
        wait,
        say_digit,
        echo,
        pause,
        interrupt_window,
        exception,
        triple_fault,
        invalid_state
    };
    struct Step {
        Kind kind;
        std::uint64_t a = 0, b = 0;  // port, index, leaf, address; value
        unsigned width = 0;
        std::vector<std::uint8_t> code;
        std::string text;
    };
    GuestScript& add(Step step);
    void begin(Vcpu& v, const Step& step, std::size_t number) const;
    void exit(Vcpu& v, const Step& step) const;
    void finish(Vcpu& v, const Step& step) const;
    static void mix(Vcpu& v, std::uint64_t value);

    std::vector<Step> steps_;
};

}  // namespace margay::host_node

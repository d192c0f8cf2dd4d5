// One vCPU of a virtual machine and what it sees of that: guest RAM, board. Each exit class has its handler in exits/.
#pragma once
#include "libipc/channel.hpp"
#include "proto/vcpu_state.hpp"
#include "proto/vm_control.hpp"
#include "servers/vmm/board.hpp"
#include "servers/vmm/emulator/emulator.hpp"
#include "servers/vmm/loader/start_state.hpp"
#include "servers/vmm/vcpu/exit.hpp"
#include "servers/vmm/vcpu/guest_clock.hpp"
#include "servers/vmm/vcpu/guest_console.hpp"
#include "servers/vmm/vcpu/guest_ram.hpp"
#include "servers/vmm/vcpu/unusual.hpp"
#include "servers/vmm/vm_state.hpp"

namespace margay::vmm {

class Machine final : private ConsoleSink, private MachineControl, private CpuWaker {
  public:
    struct Parts {
        std::byte* ram;
        std::uint64_t ram_bytes;
        unsigned cpu;      // which one it is
        const Cpus* cpus;  // all of them
        VcpuState* state;  // its state page
        Slot vcpu;
        Slot first_event;     // of the Events that recall the vCPUs
        Region* region;       // its own, as this build lays it out
        VmState* devices;     // what all share, in the active half of vCPU 0's region
        std::uint64_t* lock;  // BoardLock's word; null if there is one vCPU
        bool shares_core;     // with another vCPU of this VM
        VmControl* control;
        ChannelClient console;
        const GuestFunctions* functions;  // null: the guest drives none
        FunctionHands* hands;             // with functions
        std::uint64_t restored_at;        // host TSC when the VM was saved; 0: it goes on or is new
        std::uint64_t resumed_at;         // host TSC when it goes on after that
    };
    explicit Machine(const Parts& parts);

    // Loads the guest; an error ends the VM with its reason.
    bool load_guest(std::span<const std::byte> kernel, std::span<const std::byte> initrd,
                    std::string_view append);

    // Before any vCPU runs; of vCPU 0.
    void open_functions() { board_.open_functions(); }

    // The answer to one exit, which is one transaction: see state/transaction.hpp. All that lives in this
    // object itself is caches and what is made anew by handling the exit again.
    Reply handle(const Exit& e);

    bool shares_core() const { return shares_core_; }
    // See Turn. Halted ones are not marked, as KVM's are not: their guest would not see that they are idle. What stands
    // still comes here before it executes anything more.
    void lose_turn();
    [[nodiscard]] std::uint64_t begin_turn();

  private:
    // exits/. Ports, CPUID and hypercalls are short enough to be part of handle(); what the others need
    // must not cost them registers.
    void on_port(const Exit& e, Reply& r);
    void on_cpuid(const Exit& e, Reply& r);
    [[gnu::noinline]] CpuidResult follow_registers(const Exit& e, CpuidResult c) const;
    bool has_changed_nothing(const Exit& e) const;
    void on_xsetbv(const Exit& e, Reply& r);
    InterceptState intercepts() const;
    [[gnu::noinline]] void on_startup(Reply& r);
    // INIT and start-up messages (Intel SDM vol. 3 §9.4.3).
    void await_startup(Reply& r);
    void start_at(std::uint8_t page, Reply& r);
    void reset_rest();
    void obey_messages(Reply& r);
    void go_on(Reply& r);
    void take_messages(Reply& r);
    [[gnu::noinline]] void on_wake(const Exit& e, Reply& r);
    void update_steal_time();
    void look_after_function();
    void wait_for_function(Reply& r);
    [[gnu::noinline]] void on_msr(const Exit& e, Reply& r);
    void on_unknown_msr(std::uint32_t index, bool write);
    [[gnu::noinline]] void on_port_string(const Exit& e, Reply& r);
    [[gnu::noinline]] void on_mmio(const Exit& e, Reply& r);
    [[gnu::noinline]] void on_function_touch(const Exit& e, Reply& r);
    [[gnu::noinline]] void on_control_register(const Exit& e, Reply& r);
    [[gnu::noinline]] void apply(const EmulationResult& result, Reply& r);
    void tell_code(const EmulationResult& result);
    void on_halt(const Exit& e, Reply& r);
    void on_hypercall(const Exit& e, Reply& r);
    [[gnu::noinline]] void on_kvm_call(const Exit& e, Reply& r);
    void on_rdpmc(Reply& r);
    [[gnu::noinline]] void on_other(const Exit& e, Reply& r);

    // What every exit ends with: the interrupt to offer and the deadline to wait for.
    void finish(const Exit& e, Reply& r);
    // Of an exit that has changed what the vCPUs share: see AnswerState.
    [[gnu::noinline]] void write_answer(const Reply& r);
    [[gnu::noinline]] bool send_answer_again(Reply& r);
    // Halted, and it does not go on.
    void sleep(bool takes_interrupts, Reply& r);
    void fail_if_all_are_off(Reply& r);
    // The parts of it that most exits skip.
    [[gnu::noinline]] void measure_length(const Exit& e);
    bool may_set_cr4(std::uint64_t value) const;
    [[gnu::noinline]] void skip_by_hand(const Exit& e, Reply& r);
    [[gnu::noinline]] void finish_rarely(const Exit& e, Reply& r, std::uint64_t offer);
    [[gnu::noinline]] void offer_interrupt(Reply& r, std::uint64_t vector);
    [[gnu::noinline]] void arm(Reply& r, std::uint64_t deadline_ns);
    // The trap behind an instruction that was executed with RFLAGS.TF set.
    void trap_single_step(Reply& r);
    void read_console();
    void inject_exception(Reply& r, unsigned vector, bool has_error, std::uint32_t error);
    // Ends the VM with a report.
    void fail(Reply& r, const char* why, VmOutcome outcome = VmOutcome::failed);
    void read_state(std::uint64_t groups);

    void put(std::uint8_t byte) override;
    void input_room() override { read_console(); }
    void power_off() override { unusual_.outcome = VmOutcome::powered_off; }
    void reset() override { unusual_.outcome = VmOutcome::reset; }
    void await_function(unsigned function) override;
    void wake(unsigned cpu) override;

    GuestRam ram_;
    unsigned cpu_;
    std::uint64_t number_base_;  // of its transactions
    Slot first_event_;
    bool shares_core_;
    const Cpus& cpus_;
    CpuState& own_;
    VcpuState& state_;
    Slot vcpu_;
    VmControl& control_;
    Transaction transaction_;
    Unusual unusual_;
    BoardLock lock_;
    GuestWords words_;
    Journaled<VcpuGlueState> glue_;
    ChannelClient channel_;
    GuestConsole console_;
    GuestClock clock_;
    Board board_;
    Emulator emulator_;
    StartState start_{};
    bool had_turn_ = false;
    unsigned told_ = 0;  // lines about instructions that are not emulated
    // A processor that does not report the next instruction makes the kernel assume the shortest form
    // of the one that exited. Here are places where that was found to be right.
    static constexpr unsigned checked_places = 64;
    std::uint64_t restored_at_, resumed_at_;
    std::uint64_t checked_[checked_places] = {};
};

}  // namespace margay::vmm

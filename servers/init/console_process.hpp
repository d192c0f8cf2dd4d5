// The console server's process. It is made anew when it dies; all that it works on is init's.
#pragma once
#include <optional>

#include "servers/init/console_channels.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

class ConsoleProcess {
  public:
    // What every console gets: the Event that rings it, and UARTs with their interrupts. died: bits of `event` that
    // say that its thread has ended.
    Status prepare(Node& node, ConsoleChannels& channels, Slot rings, Slot event,
                   std::uint64_t died);

    // Makes the next process, by one bounded piece; done: it runs. anew: what its predecessors kept goes. On failure
    // why() tells, and release() is due.
    Status load_piece(bool anew, bool& done);
    bool is_dead() const;
    Status kill() { return thread_ctl(program_->thread(), ThreadOp::kill); }
    // The memory of the process goes back, whether it is dead or incomplete.
    void release();
    const char* why() const { return why_; }

  private:
    struct Uart {
        const char* ports_item;
        const char* irq_item;  // null: it has no interrupt
        std::uint16_t base = 0;
        Slot ports = no_slot, irq = no_slot;
    };

    Status make_uart(Node& node, Uart& uart, unsigned gsi);
    Status give(bool anew, bool& done);
    Status give(const Uart& uart);

    std::optional<Program> program_;
    Node* node_ = nullptr;
    ConsoleChannels* channels_ = nullptr;
    Slot rings_ = no_slot, event_ = no_slot;
    Slot pause_ = no_slot;  // an Event that nobody signals
    std::uint64_t died_ = 0;
    Uart uarts_[3] = {{"serial", "irq"}, {"serial2", "irq2"}, {"log_serial", nullptr}};
    unsigned given_ = 0;
    const char* why_ = "";
};

}  // namespace margay::init

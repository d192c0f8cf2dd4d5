#include "servers/init/console_process.hpp"

#include "support/options.hpp"

namespace margay::init {

namespace {

// As init: neither holds the other up for longer than a turn of its own.
constexpr unsigned console_priority = 32;
constexpr std::uint16_t com1 = 0x3f8, com2 = 0x2f8;
constexpr std::uint64_t uart_ports = 8;
constexpr unsigned com1_gsi = 4, com2_gsi = 3;

}  // namespace

// Whether there is one is for the console to find out.
Status ConsoleProcess::make_uart(Node& node, Uart& uart, unsigned gsi) {
    uart.ports = node.new_slot();
    Status s = carve(uart.ports, init_slot::ports, uart.base, uart_ports);
    if (s != Status::ok || uart.irq_item == nullptr) return s;
    const Result<Extent> storage = node.allocate(storage_small);
    if (!storage) return storage.status();
    uart.irq = node.new_slot();
    return create(ObjectType::irq, uart.irq, storage->slot, init_slot::irq_control, gsi);
}

Status ConsoleProcess::prepare(Node& node, ConsoleChannels& channels, Slot rings, Slot event,
                               std::uint64_t died) {
    node_ = &node;
    channels_ = &channels;
    rings_ = rings;
    event_ = event;
    died_ = died;
    uarts_[0].base = com1;
    uarts_[1].base = com2;
    if (const auto port = find_number(node.info().command_line, "log"))
        uarts_[2].base = static_cast<std::uint16_t>(*port);
    const Result<Slot> pause = node.create_event();
    if (!pause) return pause.status();
    pause_ = *pause;
    Status s = make_uart(node, uarts_[0], com1_gsi);
    if (s == Status::ok) s = make_uart(node, uarts_[1], com2_gsi);
    if (s == Status::ok && uarts_[2].base != 0) s = make_uart(node, uarts_[2], 0);
    return s;
}

Status ConsoleProcess::give(const Uart& uart) {
    if (uart.ports == no_slot) return Status::ok;
    const Status s =
        program_->give_capability(uart.ports_item, uart.ports, right::all, 0, uart.base);
    if (s != Status::ok || uart.irq == no_slot) return s;
    return program_->give_capability(uart.irq_item, uart.irq);
}

// One thing at a time.
Status ConsoleProcess::give(bool anew, bool& done) {
    switch (given_++) {
    case 0: return channels_->begin_console(*program_, anew);
    case 1: {
        bool all = false;
        const Status s = channels_->give_some(all);
        if (!all) --given_;
        return s;
    }
    case 2: return give(uarts_[0]);
    case 3: return give(uarts_[1]);
    case 4: return give(uarts_[2]);
    case 5: return program_->give_capability("event", rings_);
    case 6: return program_->give_capability("pause", pause_, right::wait);
    case 7: return program_->make_thread(event_, died_);
    default: done = true; return program_->start();
    }
}

Status ConsoleProcess::load_piece(bool anew, bool& done) {
    done = false;
    if (!program_) {
        ProgramOptions options;
        options.module = options.name = "console";
        options.priority = console_priority;
        options.slots = ConsoleChannels::table_slots;
        options.mappings = ConsoleChannels::mappings;
        program_.emplace(*node_, options);
        given_ = 0;
    }
    Status s = Status::ok;
    if (!program_->is_loaded()) {
        s = program_->load_piece();
        why_ = program_->why();
    } else {
        s = give(anew, done);
        why_ = "it cannot be given what it needs";
    }
    return s;
}

bool ConsoleProcess::is_dead() const {
    return program_ && program_->thread() != no_slot &&
           read_register(program_->thread(), ThreadRegister::rip).status() == Status::ok;
}

void ConsoleProcess::release() {
    if (!program_) return;
    channels_->end_console();
    program_->release();
    program_.reset();
}

}  // namespace margay::init

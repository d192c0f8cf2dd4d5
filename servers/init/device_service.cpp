#include "servers/init/device_service.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include "libipc/log.hpp"

namespace margay::init {

namespace {

// As init's: it works in short turns.
constexpr unsigned pci_priority = 32;
constexpr std::uint16_t config_ports = 0xcf8;
constexpr std::uint64_t config_port_count = 8;
constexpr std::uint64_t board_address = 0x2f00'0000, book_address = 0x2f10'0000;
constexpr std::uint64_t window_address = 0x10'0000'0000, window_distance = 1 << 30;
constexpr std::uint64_t restart_limit = 16, restart_window_us = 10'000'000, hang_us = 2'000'000;

}  // namespace

// One that lies elsewhere than in device memory is not used.
Status DeviceService::add_window(const ConfigWindow& w) {
    const Extent window{node_->new_slot(), w.base, w.size};
    const Status s = node_->carve_device(window);
    if (s == Status::ok) window_[windows_++] = {window, w.first_bus};
    return s == Status::not_found ? Status::ok : s;
}

Status DeviceService::prepare(const Firmware& firmware) {
    if (node_->module("pci") == nullptr) return Status::not_found;
    why_ = "memory";
    const auto shared = [this](std::uint64_t bytes, Extent& memory) -> Result<std::uint64_t> {
        const Result<Extent> e = node_->allocate(bytes);
        if (!e) return e.status();
        memory = *e;
        const Result<std::uint64_t> at = node_->map_here(*e, map_right::read_write);
        if (at) std::memset(reinterpret_cast<void*>(*at), 0, e->size);
        return at;
    };
    const Result<std::uint64_t> board = shared(pci_board_bytes, board_memory_);
    if (!board) return board.status();
    const Result<std::uint64_t> book = shared(pci_book_bytes, book_);
    if (!book) return book.status();
    book_here_ = reinterpret_cast<void*>(*book);
    const Result<Slot> ring = node_->create_event();
    if (!ring) return ring.status();
    ring_ = *ring;
    ports_ = node_->new_slot();
    why_ = "the ports of configuration space";
    Status s = carve(ports_, init_slot::ports, config_ports, config_port_count);
    for (unsigned i = 0; i < firmware.windows && s == Status::ok; ++i) {
        why_ = "the memory of configuration space";
        s = add_window(firmware.window[i]);
    }
    if (s == Status::ok) board_ = new (reinterpret_cast<void*>(*board)) PciBoard;
    return s;
}

void DeviceService::start(Node& node, const Firmware& firmware, Slot event, const Bits& bits) {
    node_ = &node;
    event_ = event;
    bits_ = bits;
    const Status s = prepare(firmware);
    if (s != Status::ok && s != Status::not_found)
        log("margay: there is no pci server, and no device is given to a guest: {}: {}\n", why_,
            to_text(s));
    const std::uint64_t window = node_->ticks(restart_window_us);
    life_.configure({restart_limit, window, window});
}

bool DeviceService::is_any_held() const {
    for (unsigned i = 0; i < count(); ++i)
        // One that goes back is not at rest before that is said.
        if (holder(i) != 0 || !outcome(i)) return true;
    return false;
}

// What it kept kills it.
void DeviceService::forget() {
    board_->listed.store(0);
    std::memset(book_here_, 0, book_.size);
}

// One thing at a time.
Status DeviceService::give(bool& done) {
    const unsigned step = given_++;
    if (step < windows_) {
        const Window& w = window_[step];
        return program_->give_mapping("ecam", w.extent, window_address + step * window_distance,
                                      map_right::read_write, w.first_bus);
    }
    switch (step - windows_) {
    case 0:
        return program_->give_channel("board", board_memory_, board_address, event_, bits_.told);
    case 1: return program_->give_mapping("book", book_, book_address, map_right::read_write);
    case 2: return program_->give_capability("ports", ports_);
    case 3: return program_->give_capability("event", ring_, right::wait);
    case 4: return program_->make_thread(event_, bits_.died);
    default: done = true; return program_->start();
    }
}

Status DeviceService::load_piece(bool& done) {
    if (!program_) {
        ProgramOptions options;
        options.module = options.name = "pci";
        options.priority = pci_priority;
        options.mappings = 1024;
        if (life_.begins_anew() && !is_any_held()) forget();
        program_.emplace(*node_, options);
        given_ = 0;
    }
    if (!program_->is_loaded()) {
        const Status s = program_->load_piece();
        why_ = program_->why();
        return s;
    }
    why_ = "cannot be given what it needs";
    return give(done);
}

void DeviceService::do_piece() {
    if (board_ == nullptr || life_.state() != ServiceLife::State::loading) return;
    bool done = false;
    if (load_piece(done) != Status::ok) return failed(why_, false, false);
    if (!done) return;
    life_.started();
    turns_ = board_->turns.load();
    watch_.begin(node_->ticks(hang_us), rdtsc());
}

void DeviceService::failed(const char* why, bool worked, bool killed) {
    program_->release();
    program_.reset();
    watch_.end();
    life_.died(worked, killed, rdtsc());
    const bool pauses = life_.state() == ServiceLife::State::pausing;
    log("margay: the pci server {}; it is started again{}\n", why,
        pauses ? " after a pause of 10 s" : "");
}

bool DeviceService::kill() {
    if (board_ == nullptr || life_.state() != ServiceLife::State::running) return false;
    killed_ = thread_ctl(program_->thread(), ThreadOp::kill) == Status::ok;
    return killed_;
}

bool DeviceService::has_work() const {
    bool any = board_->listed.load() == 0;
    for (unsigned i = 0; i < count(); ++i)
        any |= board_->wish[i].load(std::memory_order_relaxed) !=
               board_->function[i].served.load(std::memory_order_relaxed);
    return any;
}

void DeviceService::look(std::uint64_t bits) {
    if (board_ == nullptr) return;
    const std::uint64_t now = rdtsc();
    if (life_.state() == ServiceLife::State::running) {
        switch (watch_.look({now, has_work(), board_->turns.load()})) {
        case ServiceFinding::well: break;
        case ServiceFinding::stands: (void)signal(ring_, 1); break;
        case ServiceFinding::hangs:
            hung_ = thread_ctl(program_->thread(), ThreadOp::kill) == Status::ok;
            break;
        }
        const bool is_dead =
            ((bits & bits_.died) != 0 || hung_) &&
            read_register(program_->thread(), ThreadRegister::rip).status() == Status::ok;
        if (is_dead) {
            const bool worked = board_->turns.load() - turns_ > 1;
            failed(hung_ ? "hung and was ended" : "died", worked, killed_);
            killed_ = hung_ = false;
        }
    }
    (void)life_.begin(now);
}

std::uint64_t DeviceService::next_look() const {
    if (board_ == nullptr) return no_deadline;
    if (life_.state() == ServiceLife::State::loading) return 0;
    return std::min(life_.next_look(), watch_.next_look());
}

void DeviceService::copy(unsigned index, PciFunction& to) const {
    std::memcpy(static_cast<void*>(&to), &board_->function[index], offsetof(PciFunction, served));
}

const BootFirmwareMemory* DeviceService::firmware_use(std::uint16_t requester) const {
    const BootInfo& info = node_->info();
    for (unsigned i = 0; i < info.firmware_memories; ++i)
        if (info.firmware_memory[i].requester == requester) return &info.firmware_memory[i];
    return nullptr;
}

unsigned DeviceService::count() const {
    if (board_ == nullptr || board_->listed.load(std::memory_order_acquire) == 0) return 0;
    return std::min(board_->count.load(std::memory_order_relaxed), pci_functions);
}

void DeviceService::wish(unsigned index, std::uint64_t what) {
    board_->wish[index].store(what | ++sequence_ << pci_wish::sequence_shift);
    (void)signal(ring_, 1);
}

void DeviceService::adjust(unsigned index, std::uint64_t bits) {
    const std::uint64_t before = board_->wish[index].load(std::memory_order_relaxed);
    board_->wish[index].store((before & ~pci_wish::adjustable) | bits);
    (void)signal(ring_, 1);
}

void DeviceService::set_message(unsigned index, const MessageAddress& message) {
    board_->message[index].address.store(message.address, std::memory_order_relaxed);
    board_->message[index].data.store(message.data, std::memory_order_relaxed);
}

std::uint16_t DeviceService::holder(unsigned index) const {
    return static_cast<std::uint16_t>(board_->wish[index].load(std::memory_order_relaxed) &
                                      pci_wish::holder_mask);
}

std::optional<PciOutcome> DeviceService::outcome(unsigned index) const {
    const PciFunction& f = board_->function[index];
    if (f.served.load(std::memory_order_acquire) !=
        board_->wish[index].load(std::memory_order_relaxed))
        return std::nullopt;
    return static_cast<PciOutcome>(std::min(f.outcome.load(std::memory_order_relaxed),
                                            static_cast<std::uint64_t>(PciOutcome::count)));
}

}  // namespace margay::init

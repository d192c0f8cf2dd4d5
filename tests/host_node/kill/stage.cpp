#include "tests/host_node/kill/stage.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "libipc/raw.hpp"
#include "proto/startup.hpp"
#include "servers/init/wanted_state.hpp"
#include "ukernel/object/event.hpp"

extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu);

namespace margay::host_node::kill {

namespace {

// Slots of the first Domain.
constexpr Slot handler_slot = 20, portal_slot = 24, space_slot = 28, vcpu_slot = 32,
               event_slot = 36, remains_slot = 40, state_slot = 41, ram_slot = 42,
               message_slot = 50;
constexpr char append[] = "quiet";

Vcpu* the_vcpu = nullptr;

Startup& startup_page() {
    static void* const at =
        mmap(reinterpret_cast<void*>(startup_address), page_size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != reinterpret_cast<void*>(startup_address)) std::abort();
    return *static_cast<Startup*>(at);
}

void give(const char* name, const void* memory, std::uint64_t size, Slot slot = no_slot,
          std::uint64_t value = 0) {
    Startup& s = startup_page();
    StartupItem& item = s.item[s.count++];
    item = {};
    std::strncpy(item.name, name, sizeof(item.name) - 1);
    item.slot = slot;
    item.address = reinterpret_cast<std::uint64_t>(memory);
    item.size = size;
    item.value = value;
}

}  // namespace

Stage::Stage(const GuestScript& guest, std::vector<std::string> typed,
             const GuestFunctions* functions)
    : guest_{guest}, typed_{std::move(typed)}, image_{guest.image()} {
    constexpr std::uint64_t kib4 = page_size;
    machine::now.tsc_khz = 1'000'000;
    system_.make(ObjectType::thread, handler_slot, kib4,
                 {first::domain, pair(first::core0, 20), 0x401000, 0x7000});
    handler_ = &system_.object<Thread>(handler_slot);
    system_.call(Syscall::thread_ctl, {handler_slot, 0});
    System::leave();
    System::trap(*handler_, Syscall::reply_wait, {});
    system_.make(ObjectType::portal, portal_slot, kib4, {handler_slot, first::core0});
    system_.make(ObjectType::space, space_slot, 20 * kib4, {8});
    system_.carve(remains_slot, sizeof(Remains) - page_size);
    system_.carve(state_slot, page_size);
    system_.carve(ram_slot, ram_bytes);
    remains_ = new (direct<void>(HostPhys{system_.domain->slots[remains_slot].base})) Remains{};
    ram_ = {direct<std::byte>(HostPhys{system_.domain->slots[ram_slot].base}), ram_bytes};
    system_.make(ObjectType::vcpu, vcpu_slot, storage_vcpu,
                 {space_slot, pair(first::core0, 10), state_slot});
    vcpu_ = the_vcpu = &system_.object<Vcpu>(vcpu_slot);
    for (unsigned c = 0; c < exit_classes; ++c)
        system_.call(Syscall::vcpu_ctl,
                     {vcpu_slot, 0, c, portal_slot, init::wanted_state(static_cast<ExitClass>(c))});
    system_.make(ObjectType::event, event_slot, kib4);
    system_.call(Syscall::vcpu_ctl, {vcpu_slot, 1, event_slot});

    Startup& s = startup_page();
    s = {};
    s.magic = startup_magic, s.abi = abi_version, s.tsc_khz = machine::now.tsc_khz;
    give("ram", ram_.data(), ram_bytes);
    give("kernel", image_.data(), image_.size());
    give("append", append, sizeof(append));
    give("state", &remains_->state, page_size);
    give("vcpu", nullptr, 0, vcpu_slot);
    give("devices", &remains_->region, sizeof(vmm::Region));
    give("control", &remains_->control, page_size);
    give("console", &remains_->console, sizeof(ConsoleChannel));
    give("log", &remains_->log, sizeof(ConsoleChannel));
    give("epoch", nullptr, 0, no_slot, 1'700'000'000);
    give("unknown_msrs", nullptr, 0, no_slot, 0);
    give("restored", nullptr, 0, no_slot, 0);

    if (functions != nullptr) {
        give("functions", functions, sizeof(*functions));
        remains_->control.functions = functions->count;
        give("space", nullptr, 0, space_slot);
        give("messages", nullptr, 0, message_slot, max_guest_messages);
    }

    vmm::open_machine();
    system_.call(Syscall::vcpu_ctl, {vcpu_slot, 2});
    take(System::leave());
}

void Stage::take(Context* entered) {
    entered_ = entered;
    if (entered == handler_)
        ++exits_[exit(false).exit_class < ExitClass::count
                     ? static_cast<unsigned>(exit(false).exit_class)
                     : 0];
}

// As the supervisor does. False: all are as they are to be.
bool Stage::grant() {
    bool any = false;
    for (FunctionControl& f : remains_->control.function) {
        if (f.wanted == f.granted) continue;
        f.granted = f.wanted.load();
        any = true;
    }
    return any;
}

bool Stage::next_exit() {
    while (entered_ != handler_) {
        machine::switch_to(0);
        if (vcpu_->state == ContextState::dead) return false;
        if (entered_ == vcpu_) {
            take(machine::run([this] {
                guest_.run(*vcpu_);
                guest_exited(vcpu_);
            }));
        } else if (machine::now.timer[0] != no_deadline) {
            machine::now.tsc = machine::now.timer[0];
            machine::fire_timer();
            take(System::leave());
        } else if (grant()) {
            system_.object<Event>(event_slot).signal(recall_bit::node);
            take(System::leave());
        } else if (typed_next_ < typed_.size()) {
            const std::string& text = typed_[typed_next_++];
            std::uint64_t bits = recall_bit::node;
            if (text == message)
                bits = 1ull << recall_bit::first_message;
            else if (text == power_button)
                ++remains_->control.power_presses;
            else
                for (const char c : text) remains_->console.input.put(c);
            system_.object<Event>(event_slot).signal(bits);
            take(System::leave());
        } else {
            return false;
        }
    }
    // The exit's time, for whoever handles it. A guest that was never entered was not there before its VMM.
    if (exit(false).exit_class != ExitClass::startup) machine::now.tsc += 700'000;
    return true;
}

vmm::Exit Stage::exit(bool replayed) const {
    const auto& r = handler_->gpr;
    Message m{r[gpr_rsi], {r[gpr_rdx], r[gpr_r8], r[gpr_r9], r[gpr_r10], r[gpr_r12], r[gpr_r13]}};
    if (replayed) m.label |= exit_flag::replayed << 8;
    return vmm::Exit{m};
}

void Stage::reply(const vmm::Reply& reply) {
    const Message m = reply.message(exit(false).sequence);
    // The handler waits for the next exit then.
    take(System::trap(*handler_, Syscall::reply_wait,
                      {0, m.label, m.words[0], m.words[1], m.words[2], m.words[3], m.words[4], 0}));
}

void Stage::send_again() {
    backend::store_state(*vcpu_, init::wanted_state(exit(false).exit_class));
}

void Stage::use_free_input() {
    auto& ring = remains_->console.input;
    auto* const bytes = reinterpret_cast<char*>(&ring) + 8;
    constexpr std::uint32_t size = sizeof(ring) - 8;
    for (auto at = ring.head(); at - ring.tail() < size; ++at) bytes[at % size] = '#';
}

void Stage::watch_changes(std::span<const std::byte> before) {
    watched_.clear();
    for (std::size_t at = 0; at < ram_.size(); at += page_size)
        if (std::memcmp(&before[at], &ram_[at], page_size) != 0) watched_.push_back(at);
}

Copy Stage::copy() const {
    Copy c;
    const auto* p = reinterpret_cast<const std::byte*>(remains_);
    c.remains.assign(p, p + sizeof(Remains));
    for (const std::size_t at : watched_)
        c.pages.insert(c.pages.end(), &ram_[at], &ram_[at] + page_size);
    return c;
}

void Stage::set(const Copy& c) {
    std::memcpy(static_cast<void*>(remains_), c.remains.data(), sizeof(Remains));
    for (std::size_t i = 0; i < watched_.size(); ++i)
        std::memcpy(&ram_[watched_[i]], &c.pages[i * page_size], page_size);
}

bool Stage::is(const Copy& c) const {
    if (std::memcmp(static_cast<const void*>(remains_), c.remains.data(), sizeof(Remains)) != 0)
        return false;
    for (std::size_t i = 0; i < watched_.size(); ++i)
        if (std::memcmp(&ram_[watched_[i]], &c.pages[i * page_size], page_size) != 0) return false;
    return true;
}

}  // namespace margay::host_node::kill

// The system calls of a VMM that handles an exit. They change nothing but the state page.
namespace margay::raw {

namespace kill = host_node::kill;

Status system_call(Syscall number, Registers& r) {
    switch (number) {
    case Syscall::signal: return Status::ok;
    case Syscall::vcpu_ctl:
        if (static_cast<VcpuOp>(r.rsi) == VcpuOp::read_state) {
            backend::store_state(*kill::the_vcpu, r.rdx);
            return Status::ok;
        }
        if (static_cast<VcpuOp>(r.rsi) == VcpuOp::query) {
            r.rdi = kill::the_vcpu->sequence;
            r.rsi = kill::the_vcpu->has_pending() ? vcpu_flag::pending : 0;
            return Status::ok;
        }
        break;
    case Syscall::irq_ctl: r.rsi = 0x4000 + r.rdi, r.rdi = 0xfee0'0000; return Status::ok;
    default: break;
    }
    return Status::bad_syscall;
}

std::uint64_t rdtsc() { return machine::now.tsc; }

Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    if (leaf == 0x8000'000a) return {1, 16, 0, 1};
    return {leaf * 3, subleaf, 0xffff'ffff, 0xffff'ffff};
}

}  // namespace margay::raw

#include "servers/init/pmem_watch.hpp"

#include "libipc/log.hpp"

namespace margay::init {

namespace {

constexpr unsigned watch_priority = 56;
constexpr std::uint64_t stack_bytes = 16 << 10;
// A request takes pmem less than a millisecond, and it counts each 2 MiB that it clears. Guests of core 0 stand still as
// long as it does.
constexpr std::uint64_t hang_us = 1'000'000;

PmemWatch* the_watch = nullptr;

}  // namespace

Status PmemWatch::start(Node& node, const std::atomic<std::uint64_t>& progress) {
    const auto fail_with = [this](const char* why, Status s) {
        why_ = why;
        return s;
    };
    progress_ = &progress;
    limit_ = node.ticks(hang_us);
    const Result<Slot> event = node.create_event();
    if (!event) return fail_with("an event", event.status());
    event_ = *event;
    const Result<const Image*> image = node.image("init", why_);
    if (!image) return image.status();
    const Result<Extent> storage = node.allocate(storage_thread);
    if (!storage) return fail_with("memory for a thread", storage.status());
    const Result<Extent> stack = node.allocate(stack_bytes);
    if (!stack) return fail_with("memory for a stack", stack.status());
    const Result<std::uint64_t> at = node.map_here(*stack, map_right::read_write);
    if (!at) return fail_with("room for a stack", at.status());
    the_watch = this;
    const Slot thread = node.new_slot();
    Status s = create_thread(thread, storage->slot, init_slot::domain, init_slot::first_core,
                             watch_priority, (*image)->header().entry, *at + stack_bytes - 16,
                             boot_info_address + 1);
    if (s == Status::ok) s = thread_ctl(thread, ThreadOp::start);
    return s == Status::ok ? s : fail_with("a thread", s);
}

void PmemWatch::begin(Slot thread) {
    has_ended_it_.store(false, std::memory_order_relaxed);
    requests_.store(requests_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    thread_.store(thread);
    if (rests_.load()) (void)signal(event_, 1);
}

void PmemWatch::run() { the_watch->watch(); }

// It sleeps when nobody has asked from one look to the next.
void PmemWatch::watch() {
    ServiceWatch watch;
    watch.begin(limit_, rdtsc());
    std::uint64_t seen = ~0ull;
    for (;;) {
        const std::uint64_t requests = requests_.load();
        if (requests == seen && thread_.load() == no_slot) {
            rests_.store(true);
            (void)wait(event_);
            rests_.store(false);
            watch.begin(limit_, rdtsc());
        }
        seen = requests;
        (void)wait(event_, watch.next_look());
        const Slot thread = thread_.load();
        const ServiceSample now{rdtsc(), thread != no_slot, requests_.load() + progress_->load()};
        if (watch.look(now) != ServiceFinding::hangs) continue;
        if (thread_ctl(thread, ThreadOp::kill) == Status::ok) has_ended_it_.store(true);
        watch.begin(limit_, rdtsc());
    }
}

}  // namespace margay::init

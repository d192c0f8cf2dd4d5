#include "servers/init/memory_service.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "libipc/log.hpp"
#include "support/address.hpp"

namespace margay::init {

namespace {

constexpr unsigned pmem_priority = 48;
// As init: it competes for the core's turns, and pauses for longer than it works.
constexpr unsigned clearing_priority = 32;
constexpr std::uint64_t bootstrap_bytes = 4 << 20;
// Of these, what each pmem is made of.
constexpr std::uint64_t process_bytes = 1536 << 10;
constexpr std::uint64_t book_address = 0x2f00'0000, work_address = 0x2f00'0000;
constexpr std::uint64_t restart_limit = 16, restart_window_us = 10'000'000;
// A pmem that hangs holds core 0 until it is found: it counts as so many deaths.
constexpr unsigned hang_weight = 8;
// The one that clears makes a piece in less than a millisecond, and pauses for three times as long.
constexpr std::uint64_t clearer_hang_us = 2'000'000;
// How long a piece that is being cleared is waited for if it may be what is missing.
constexpr std::uint64_t patience_us = 2000, look_us = 50;

}  // namespace

// The largest of them when there are very many; a start-up block has no room for more.
Status MemoryService::take_all(Node& node) {
    node_ = &node;
    const BootInfo& info = node_->info();
    const auto is_free = [](const BootExtent& e) { return e.use == ExtentUse::free_ram; };
    const auto is_larger = [](const BootExtent& a, const BootExtent& b) {
        return a.size > b.size || (a.size == b.size && a.base < b.base);
    };
    for (unsigned i = 0; i < info.extents; ++i) {
        const BootExtent& e = info.extent[i];
        if (!is_free(e)) continue;
        unsigned larger = 0;
        for (unsigned k = 0; k < info.extents; ++k)
            larger += is_free(info.extent[k]) && is_larger(info.extent[k], e);
        if (larger >= max_roots) {
            unused_ram_ += e.size;
            continue;
        }
        Slot slot = e.slot;
        if (larger == 0) {
            if (e.size < 2 * bootstrap_bytes) return fail_with("no free RAM", Status::no_memory);
            const Slot bootstrap = node_->new_slot();
            slot = node_->new_slot();
            Status s = carve(bootstrap, e.slot, e.base, bootstrap_bytes);
            if (s == Status::ok)
                s = carve(slot, e.slot, e.base + bootstrap_bytes, e.size - bootstrap_bytes);
            if (s != Status::ok) return fail_with("bootstrap memory", s);
            own_ = {bootstrap, e.base, process_bytes};
            node_->keep_back({bootstrap, e.base, bootstrap_bytes});
            node_->use_bootstrap(
                {bootstrap, e.base + process_bytes, bootstrap_bytes - process_bytes});
        }
        root_[roots_] = slot;
        root_node_[roots_++] = e.node;
    }
    return roots_ != 0 ? Status::ok : fail_with("no free RAM", Status::no_memory);
}

// What outlives each pmem.
Status MemoryService::prepare() {
    const auto shared = [this](std::uint64_t bytes, Extent& memory) -> Result<std::uint64_t> {
        const Result<Extent> e = node_->allocate(bytes);
        if (!e) return e.status();
        memory = *e;
        const Result<std::uint64_t> at = node_->map_here(*e, map_right::read_write);
        if (at) std::memset(reinterpret_cast<void*>(*at), 0, e->size);
        return at;
    };
    const Result<std::uint64_t> book = shared(pmem_book_bytes, book_);
    if (!book) return fail_with("pmem's books", book.status());
    const auto& progress = *reinterpret_cast<std::atomic<std::uint64_t>*>(*book);
    if (const Status s = watch_.start(*node_, progress); s != Status::ok)
        return fail_with(watch_.why(), s);
    const Result<std::uint64_t> work = shared(page_size, work_memory_);
    if (!work) return fail_with("pmem_clear's memory", work.status());
    work_ = new (reinterpret_cast<void*>(*work)) ClearWork;
    for (Slot* event : {&dirty_, &never_}) {
        const Result<Slot> made = node_->create_event();
        if (!made) return fail_with("an event", made.status());
        *event = *made;
    }
    const Result<Extent> storage = node_->allocate(storage_small);
    if (!storage) return fail_with("pmem's portal", storage.status());
    const Slot portal = node_->new_slot();
    portal_ = node_->new_slot();
    Status s = create_portal(portal, storage->slot, no_slot, init_slot::first_core);
    if (s == Status::ok) s = copy(portal, init_slot::domain, portal_, right::all, pmem_supervisor);
    return s == Status::ok ? s : fail_with("pmem's portal", s);
}

Status MemoryService::start(Slot event, const Bits& bits) {
    event_ = event;
    bits_ = bits;
    const std::uint64_t window = node_->ticks(restart_window_us);
    life_.configure({restart_limit, window, window});
    clearer_life_.configure({restart_limit, window, window});
    if (const Status s = prepare(); s != Status::ok) return s;
    if (!run())
        return failure_ != Status::ok ? failure_
                                      : fail_with("pmem does not start", Status::no_memory);
    is_open_ = true;
    node_->use_pmem(*this);
    run_clearer();
    return Status::ok;
}

// Its process, complete but for its start.
Status MemoryService::load(Program& program) {
    Status s = program.load();
    if (s != Status::ok) return fail_with(program.why(), s);
    for (unsigned i = 0; i < roots_ && s == Status::ok; ++i)
        s = program.give_capability("ram", root_[i], right::all, 0, root_node_[i]);
    if (s == Status::ok) s = program.give_capability("domain", program.domain(), right::map);
    return s == Status::ok ? s : fail_with("it cannot be given what it needs", s);
}

bool MemoryService::run() {
    (void)life_.begin(rdtsc());
    while (life_.state() == ServiceLife::State::loading) {
        ProgramOptions options;
        options.module = options.name = "pmem";
        options.priority = pmem_priority;
        // Its own memory, whatever there is else.
        const Extent rest = node_->bootstrap();
        node_->use_bootstrap(own_);
        pmem_.emplace(*node_, options);
        Status s = load(*pmem_);
        if (s == Status::ok)
            s = pmem_->give_mapping("book", book_, book_address, map_right::read_write);
        if (s == Status::ok) s = pmem_->make_thread(event_, bits_.died);
        if (s == Status::ok) s = portal_ctl(portal_, PortalOp::bind, pmem_->thread());
        node_->use_bootstrap(rest);
        if (is_open_) node_->use_pmem(*this);
        if (s == Status::ok) {
            watch_.begin(pmem_->thread());
            s = pmem_->start();
            watch_.end();
        }
        failure_ = s;
        answered_ = false;
        // It is above init: it waits for requests by now, or is dead.
        const bool lives =
            s == Status::ok &&
            read_register(pmem_->thread(), ThreadRegister::rip).status() != Status::ok;
        if (lives)
            life_.started();
        else if (s == Status::ok)
            ended_at_work();
        else
            died("cannot be started", false);
    }
    return is_running();
}

void MemoryService::ended_at_work() {
    if (watch_.has_ended_it())
        died("hung and was ended", false, hang_weight);
    else
        died("died", false);
}

void MemoryService::died(const char* why, bool killed, unsigned weight) {
    pmem_->release();
    pmem_.reset();
    life_.died(answered_, killed, rdtsc(), weight);
    log("margay: pmem {}; {}\n", why,
        life_.state() == ServiceLife::State::pausing
            ? "that is too often: for 10 s there is no memory to be had"
            : "it is started again");
}

Status MemoryService::ask(Message& m) {
    m.words[5] = ++ticket_;
    for (bool again = false;; again = true) {
        if (!is_running() && !run()) return Status::no_memory;
        if (m.label != static_cast<std::uint64_t>(PmemCall::release))
            for (unsigned n = owed_count_; n != 0 && is_running(); --n)
                release(owed_[--owed_count_]);
        if (!is_running()) continue;
        Message asked = m;
        if (again) asked.label |= pmem_again;
        watch_.begin(pmem_->thread());
        const Status s = call(portal_, asked);
        watch_.end();
        if (s == Status::ok) {
            answered_ = true;
            m = asked;
            return Status::ok;
        }
        ended_at_work();
    }
}

void MemoryService::release(std::uint64_t base) {
    Message m{static_cast<std::uint64_t>(PmemCall::release), {base}};
    if (ask(m) != Status::ok) {
        if (owed_count_ < max_owed) owed_[owed_count_++] = base;
        return;
    }
    if (!has_piece_) (void)signal(event_, bits_.cleared);
}

MemoryUse MemoryService::use(std::uint64_t numa_node) {
    Message m{static_cast<std::uint64_t>(PmemCall::query), {numa_node}};
    if (ask(m) != Status::ok || m.label != 0) return {};
    return {m.words[0], m.words[1], m.words[2], m.words[3], m.words[4]};
}

// What is in hand is clean, if it is; then the next one. True if the former.
bool MemoryService::next_piece(bool wants_more) {
    const bool clean = has_piece_ && work_->done.load() == work_->wanted.load();
    if (has_piece_ && !clean) return false;
    Message m{static_cast<std::uint64_t>(PmemCall::clear),
              {clean ? 1u : 0u, work_->base, wants_more ? 1u : 0u}};
    if (ask(m) != Status::ok) return false;
    has_piece_ = m.label == 0;
    clearer_watch_.end();
    if (!has_piece_) return clean;
    clearer_watch_.begin(node_->ticks(clearer_hang_us), rdtsc());
    work_->base = m.words[0];
    work_->size = m.words[1];
    work_->root = m.words[2];
    work_->wanted.store(work_->wanted.load() + 1);
    (void)signal(dirty_, 1);
    return clean;
}

bool MemoryService::await_cleared() {
    if (!has_piece_) return false;
    const std::uint64_t end = rdtsc() + node_->ticks(patience_us);
    while (work_->done.load() != work_->wanted.load()) {
        const std::uint64_t now = rdtsc();
        if (now >= end) return false;
        (void)wait(never_, now + node_->ticks(look_us));
    }
    return next_piece(false);
}

// Without it, memory is cleared on allocation.
Status MemoryService::load_clearer() {
    ProgramOptions options;
    options.module = "pmem";
    options.name = "pmem_clear";
    options.priority = clearing_priority;
    clearer_.emplace(*node_, options);
    Program& p = *clearer_;
    Status s = load(p);
    if (s == Status::ok)
        s = p.give_channel("work", work_memory_, work_address, event_, bits_.cleared);
    if (s == Status::ok) s = p.give_capability("dirty", dirty_, right::wait);
    if (s == Status::ok) s = p.make_thread(event_, bits_.clearer_died);
    return s == Status::ok ? p.start() : s;
}

void MemoryService::run_clearer() {
    (void)clearer_life_.begin(rdtsc());
    while (clearer_life_.state() == ServiceLife::State::loading) {
        if (load_clearer() == Status::ok) {
            clearer_life_.started();
            if (has_piece_) clearer_watch_.begin(node_->ticks(clearer_hang_us), rdtsc());
            return;
        }
        clearer_->release();
        clearer_.reset();
        clearer_life_.died(false, false, rdtsc());
    }
}

std::uint64_t MemoryService::next_look() const {
    return std::min({life_.next_look(), clearer_life_.next_look(), clearer_watch_.next_look()});
}

// It shares core 0 with init by turns: between two looks it could go on.
void MemoryService::watch_clearer() {
    if (!clearer_) return;
    const ServiceSample now{rdtsc(), has_piece_, work_->done.load()};
    if (clearer_watch_.look(now) == ServiceFinding::hangs)
        clearer_hung_ = thread_ctl(clearer_->thread(), ThreadOp::kill) == Status::ok;
}

void MemoryService::look(std::uint64_t bits) {
    const auto is_dead = [](const std::optional<Program>& p) {
        return p && p->thread() != no_slot &&
               read_register(p->thread(), ThreadRegister::rip).status() == Status::ok;
    };
    if ((bits & bits_.died) != 0 && is_running() && is_dead(pmem_)) {
        died("died", false);
    }
    watch_clearer();
    if (((bits & bits_.clearer_died) != 0 || clearer_hung_) && is_dead(clearer_)) {
        clearer_->release();
        clearer_.reset();
        clearer_watch_.end();
        clearer_life_.died(true, false, rdtsc());
        log("margay: pmem_clear {}; it is started again\n",
            clearer_hung_ ? "hung and was ended" : "died");
        clearer_hung_ = false;
    }
    run_clearer();
    if (!is_running()) (void)run();
    if ((bits & bits_.cleared) != 0 && is_running()) (void)next_piece(true);
}

bool MemoryService::kill() {
    if (!is_running()) return false;
    if (thread_ctl(pmem_->thread(), ThreadOp::kill) != Status::ok) return false;
    // At once: whoever asked it now would wait for ever.
    died("was killed", true);
    return true;
}

}  // namespace margay::init

// pmem: owns all free RAM and is the only source of memory on the node (proto/pmem.hpp).
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "libipc/system_call.hpp"
#include "servers/pmem/clear.hpp"
#include "servers/pmem/extent_table.hpp"

namespace margay::pmem {

namespace {

ExtentTable table;

constexpr unsigned max_roots = startup_items;
Slot roots[max_roots];

// One capability slot per extent that is in use.
class SlotPool {
  public:
    void fill(Slot first, unsigned count) {
        for (unsigned i = 0; i < count && i < ExtentTable::capacity; ++i)
            free_[count_++] = first + i;
    }
    bool take(Slot& s) {
        if (count_ == 0) return false;
        s = free_[--count_];
        return true;
    }
    void give(Slot s) { free_[count_++] = s; }

  private:
    Slot free_[ExtentTable::capacity];
    unsigned count_ = 0;
};
SlotPool slots;

Slot own_domain = no_slot;

// The one that clears at leisure, as pmem sees it. It has one piece at a time.
class Background {
  public:
    void open() {
        for (const auto& [name, slot] :
             {std::pair{domain_item, &own_domain}, {dirty_item, &dirty_}, {done_item, &done_}})
            if (const StartupItem* item = find_startup_item(name)) *slot = item->slot;
    }
    void wake() { (void)signal(dirty_, 1); }
    // It begins with another piece: what it said before was about the last one.
    void begins() { (void)wait(done_, 0); }
    // Whether it is done, or will be in a moment. On the caller's time: it has a low priority.
    bool is_done() {
        return wait(done_, rdtsc() + startup().tsc_khz * patience_ms).status() == Status::ok;
    }

  private:
    static constexpr std::uint64_t patience_ms = 2;
    Slot dirty_ = no_slot, done_ = no_slot;
};
Background background;

void take_boot_extents() {
    const Startup& s = startup();
    unsigned count = 0;
    for (unsigned i = 0; i < s.count && count < max_roots; ++i) {
        const StartupItem& item = s.item[i];
        if (std::string_view{item.name} != "ram") continue;
        const Result<ExtentInfo> info = query_memory(item.slot);
        if (!info) fail("a boot extent cannot be read", info.status());
        const Status added =
            table.add(info->base, info->size, static_cast<std::uint32_t>(item.value), count);
        if (added != Status::ok) fail("a boot extent is refused", added);
        roots[count++] = item.slot;
    }
    slots.fill(s.first_free, ExtentTable::capacity);
}

Message answer(Status s) { return {static_cast<std::uint64_t>(s), {}}; }

void give_back(ExtentRecord& r, bool dirty) {
    (void)revoke(r.slot, revoke_flag::self);
    slots.give(r.slot);
    table.release(r, dirty);
}
void give_back(ExtentRecord& r) {
    give_back(r, true);
    background.wake();
}

// Clears [base, base + size) of a boot extent, which nobody has.
Status clear(std::uint32_t root, std::uint64_t base, std::uint64_t size) {
    Slot slot;
    if (!slots.take(slot)) return Status::no_memory;
    Status s = carve(slot, roots[root], base, size, carve_flag::estate);
    if (s == Status::ok) {
        s = clear_memory({slot, base, size}, own_domain);
        (void)revoke(slot, revoke_flag::self);
    }
    slots.give(slot);
    return s;
}

// What in the place is dirty is cleared now.
Status clear(const Place& place) {
    while (const ExtentRecord* r = table.dirty_in(place)) {
        const std::uint64_t place_end = place.base + place.size;
        const std::uint64_t base = r->base > place.base ? r->base : place.base;
        const std::uint64_t end = r->end < place_end ? r->end : place_end;
        Status s = clear(r->root, base, end - base);
        if (s == Status::ok) s = table.cleared(base, end);
        if (s != Status::ok) return s;
    }
    return Status::ok;
}

Message query(const Message& m) {
    if (!table.knows_node(m.words[0])) return answer(Status::not_found);
    const ExtentTable::Totals t = table.totals(m.words[0]);
    return {0, {t.free, t.largest, t.used, t.extents, t.dirty}};
}

// The record's capability, for its new owner.
Message give(ExtentRecord& e, Slot slot) {
    const Status s = carve(slot, roots[e.root], e.base, e.end - e.base, carve_flag::estate);
    if (s != Status::ok) {
        slots.give(slot);
        table.release(e, e.dirty);
        return answer(s);
    }
    e.slot = slot;
    return {label_transfer,
            {e.base, e.end - e.base, 0, 0, 0, slot | std::uint64_t{right::all} << 32}};
}

Message allocate(std::uint64_t badge, const Message& m) {
    if (m.words[2] != static_cast<std::uint64_t>(MemoryType::ram))
        return answer(Status::bad_argument);
    if (!table.knows_node(m.words[3])) return answer(Status::not_found);
    Slot slot;
    if (!slots.take(slot)) return answer(Status::no_memory);
    const auto find = [&m] {
        return m.label == static_cast<std::uint64_t>(PmemCall::part)
                   ? table.find_part(m.words[0], m.words[1], m.words[4], m.words[3])
                   : table.find_whole(m.words[0], m.words[1], m.words[3]);
    };
    Result<Place> place = find();
    // The piece that is being cleared may be what is missing.
    if (place.status() == Status::no_memory)
        if (ExtentRecord* r = table.any_of(pmem_clearer); r != nullptr && background.is_done()) {
            give_back(*r, false);
            place = find();
        }
    Status s = place.status();
    if (s == Status::ok) s = clear(*place);
    const Result<ExtentRecord*> r = s == Status::ok ? table.take(*place, badge) : s;
    if (!r) {
        slots.give(slot);
        return answer(r.status());
    }
    return give(**r, slot);
}

Message release(std::uint64_t badge, const Message& m) {
    ExtentRecord* r = table.find(m.words[0]);
    if (r == nullptr) return answer(Status::not_found);
    if (r->owner != badge) return answer(Status::no_right);
    give_back(*r);
    return answer(Status::ok);
}

Message forget(std::uint64_t badge, const Message& m) {
    if (badge != pmem_supervisor) return answer(Status::no_right);
    while (ExtentRecord* r = table.any_of(m.words[0])) give_back(*r);
    return answer(Status::ok);
}

// The piece that it had is clean; here is another one.
Message clear_next(std::uint64_t badge) {
    if (badge != pmem_clearer) return answer(Status::no_right);
    if (ExtentRecord* r = table.any_of(pmem_clearer)) give_back(*r, false);
    Slot slot;
    if (!slots.take(slot)) return answer(Status::not_found);
    ExtentRecord* r = table.take_dirty(clear_piece);
    if (r == nullptr) {
        slots.give(slot);
        return answer(Status::not_found);
    }
    background.begins();
    return give(*r, slot);
}

Message serve(std::uint64_t badge, const Message& m) {
    switch (static_cast<PmemCall>(m.label)) {
    case PmemCall::query: return query(m);
    case PmemCall::allocate:
    case PmemCall::part: return allocate(badge, m);
    case PmemCall::release: return release(badge, m);
    case PmemCall::forget: return forget(badge, m);
    case PmemCall::clear: return clear_next(badge);
    }
    return answer(Status::bad_syscall);
}

}  // namespace

}  // namespace margay::pmem

void program_main(std::uint64_t) {
    using namespace margay;
    open_startup_log();
    if (const StartupItem* item = find_startup_item(pmem::pmem_item))
        pmem::clear_at_leisure(item->slot);
    pmem::background.open();
    pmem::take_boot_extents();
    Received r = reply_wait({});
    for (;;) {
        const Message reply = r.status == Status::ok ? pmem::serve(r.badge, r.message) : Message{};
        r = reply_wait(reply);
    }
}

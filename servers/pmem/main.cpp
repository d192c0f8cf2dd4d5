// pmem: owns all free RAM and is the only source of memory on the node (proto/pmem.hpp).
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "libipc/system_call.hpp"
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

void give_back(ExtentRecord& r) {
    (void)revoke(r.slot, revoke_flag::self);
    slots.give(r.slot);
    table.release(r);
}

Message query(const Message& m) {
    if (!table.knows_node(m.words[0])) return answer(Status::not_found);
    const ExtentTable::Totals t = table.totals(m.words[0]);
    return {0, {t.free, t.largest, t.used, t.extents}};
}

Message allocate(std::uint64_t badge, const Message& m) {
    if (m.words[2] != static_cast<std::uint64_t>(MemoryType::ram))
        return answer(Status::bad_argument);
    if (!table.knows_node(m.words[3])) return answer(Status::not_found);
    Slot slot;
    if (!slots.take(slot)) return answer(Status::no_memory);
    const Result<ExtentRecord*> r = table.allocate(m.words[0], m.words[1], m.words[3], badge);
    if (!r) {
        slots.give(slot);
        return answer(r.status());
    }
    ExtentRecord& e = **r;
    const Status s = carve(slot, roots[e.root], e.base, e.end - e.base, carve_flag::estate);
    if (s != Status::ok) {
        slots.give(slot);
        table.release(e);
        return answer(s);
    }
    e.slot = slot;
    return {label_transfer,
            {e.base, e.end - e.base, 0, 0, 0, slot | std::uint64_t{right::all} << 32}};
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

Message serve(std::uint64_t badge, const Message& m) {
    switch (static_cast<PmemCall>(m.label)) {
    case PmemCall::query: return query(m);
    case PmemCall::allocate: return allocate(badge, m);
    case PmemCall::release: return release(badge, m);
    case PmemCall::forget: return forget(badge, m);
    }
    return answer(Status::bad_syscall);
}

}  // namespace

}  // namespace margay::pmem

void program_main(std::uint64_t) {
    using namespace margay;
    open_startup_log();
    pmem::take_boot_extents();
    Received r = reply_wait({});
    for (;;) {
        const Message reply = r.status == Status::ok ? pmem::serve(r.badge, r.message) : Message{};
        r = reply_wait(reply);
    }
}

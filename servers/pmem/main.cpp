// pmem: decides which memory is whose, and is the only source of it on the node (proto/pmem.hpp). Its books outlive it.
#include <algorithm>
#include <atomic>

#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "libipc/system_call.hpp"
#include "servers/pmem/clear.hpp"
#include "servers/pmem/extent_table.hpp"

namespace margay::pmem {

namespace {

// The memory of item `book`: all zero when there was no pmem yet.
struct KeptBook {
    static constexpr std::uint64_t complete = 0x706d'656d'0000'0000 + sizeof(ExtentBook);
    std::atomic<std::uint64_t> progress;
    std::uint64_t mark;
    ExtentBook book;
};
static_assert(sizeof(KeptBook) <= pmem_book_bytes);

constexpr unsigned max_roots = startup_items;

class Server {
  public:
    explicit Server(KeptBook& kept);
    Message serve(std::uint64_t badge, const Message& m);

  private:
    struct Roots {
        explicit Roots();
        unsigned count = 0;
        Slot slot[max_roots];
        std::uint32_t node[max_roots];
        std::uint64_t begin[max_roots], end[max_roots];
    };

    Message query(const Message& m) const;
    Message allocate(std::uint64_t badge, const Message& m, bool by_parts, bool again);
    Message release(std::uint64_t badge, const Message& m);
    Message clear_next(const Message& m);
    Status clear(const Place& place, bool& is_clean);
    Status clear(std::uint32_t root, std::uint64_t base, std::uint64_t size);

    std::atomic<std::uint64_t>& progress_;
    const Slot domain_, into_;
    Roots roots_;
    ExtentTable table_;
};

Message answer(Status s) { return {static_cast<std::uint64_t>(s), {}}; }
Message answer(const ExtentRecord& r) { return {0, {r.base, r.end - r.base, r.root}}; }

const StartupItem& need(const char* name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

Server::Roots::Roots() {
    const Startup& s = startup();
    for (unsigned i = 0; i < s.count && count < max_roots; ++i) {
        const StartupItem& item = s.item[i];
        if (std::string_view{item.name} != ram_item) continue;
        const Result<ExtentInfo> info = query_memory(item.slot);
        if (!info) fail("a boot extent cannot be read", info.status());
        slot[count] = item.slot;
        node[count] = static_cast<std::uint32_t>(item.value);
        begin[count] = info->base;
        end[count++] = info->base + info->size;
    }
}

// An empty book, unless there is one to go on with. One that is damaged says nothing about what is in use: then there is no
// memory to be had.
ExtentBook& sound(KeptBook& kept, const std::uint64_t* begins, const std::uint64_t* ends,
                  unsigned roots) {
    if (kept.mark != KeptBook::complete) {
        kept.book.current = 0;
        kept.book.orders[0].count = 0;
    } else if (!ExtentTable::is_sound(kept.book, begins, ends, roots)) {
        fail("the books are damaged", Status::corrupt);
    }
    return kept.book;
}

Server::Server(KeptBook& kept)
    : progress_{kept.progress},
      domain_{need(domain_item).slot},
      into_{startup().first_free},
      table_{sound(kept, roots_.begin, roots_.end, roots_.count)} {
    if (kept.mark == KeptBook::complete) return;
    for (unsigned i = 0; i < roots_.count; ++i) {
        const Status s =
            table_.add(roots_.begin[i], roots_.end[i] - roots_.begin[i], roots_.node[i], i);
        if (s != Status::ok) fail("a boot extent is refused", s);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    kept.mark = KeptBook::complete;
}

// Clears [base, base + size) of a boot extent, which nobody has.
Status Server::clear(std::uint32_t root, std::uint64_t base, std::uint64_t size) {
    Status s = carve(into_, roots_.slot[root], base, size, carve_flag::estate);
    if (s != Status::ok) return s;
    s = clear_memory({into_, base, size}, domain_, &progress_);
    (void)revoke(into_, revoke_flag::self);
    return s;
}

// What in the place is dirty is cleared now, or a piece of it.
Status Server::clear(const Place& place, bool& is_clean) {
    std::uint64_t left = pmem_piece;
    const ExtentRecord* r = table_.dirty_in(place);
    for (; r != nullptr && left != 0; r = table_.dirty_in(place)) {
        const std::uint64_t base = std::max(r->base, place.base);
        const std::uint64_t size = std::min({r->end - base, place.base + place.size - base, left});
        Status s = clear(r->root, base, size);
        if (s == Status::ok) s = table_.cleared(base, base + size);
        if (s != Status::ok) return s;
        left -= size;
    }
    is_clean = r == nullptr;
    return Status::ok;
}

Message Server::query(const Message& m) const {
    if (!table_.knows_node(m.words[0])) return answer(Status::not_found);
    const ExtentTable::Totals t = table_.totals(m.words[0]);
    return {0, {t.free, t.largest, t.used, t.extents, t.dirty}};
}

Message Server::allocate(std::uint64_t badge, const Message& m, bool by_parts, bool again) {
    if (again)
        if (const ExtentRecord* r = table_.taken_for(m.words[5])) return answer(*r);
    if (m.words[2] != static_cast<std::uint64_t>(MemoryType::ram))
        return answer(Status::bad_argument);
    if (!table_.knows_node(m.words[3])) return answer(Status::not_found);
    const Result<Place> place =
        by_parts ? table_.find_part(m.words[0], m.words[1], m.words[4], m.words[3])
                 : table_.find_whole(m.words[0], m.words[1], m.words[3]);
    Status s = place.status();
    bool is_clean = false;
    if (s == Status::ok) s = clear(*place, is_clean);
    if (s != Status::ok) return answer(s);
    if (!is_clean) return {pmem_more, {}};
    const Result<const ExtentRecord*> r = table_.take(*place, badge, m.words[5]);
    return r ? answer(**r) : answer(r.status());
}

Message Server::release(std::uint64_t badge, const Message& m) {
    const ExtentRecord* r = table_.find(m.words[0]);
    if (r == nullptr) return answer(Status::not_found);
    if (r->owner != badge) return answer(Status::no_right);
    table_.release(*r, true);
    return answer(Status::ok);
}

// The piece that was given is clean; here is another one. There is one at a time.
Message Server::clear_next(const Message& m) {
    const ExtentRecord* r = table_.any_of(pmem_clearer);
    if (r != nullptr && m.words[0] == 1 && r->base == m.words[1]) {
        table_.release(*r, false);
        r = nullptr;
    }
    if (r == nullptr && m.words[2] == 1) r = table_.take_dirty(clear_piece);
    return r != nullptr && m.words[2] == 1 ? answer(*r) : answer(Status::not_found);
}

Message Server::serve(std::uint64_t badge, const Message& m) {
    if (badge != pmem_supervisor) return answer(Status::no_right);
    const bool again = (m.label & pmem_again) != 0;
    const auto request = static_cast<PmemCall>(m.label & ~pmem_again);
    switch (request) {
    case PmemCall::query: return query(m);
    case PmemCall::allocate:
    case PmemCall::part: return allocate(badge, m, request == PmemCall::part, again);
    case PmemCall::release: return release(badge, m);
    case PmemCall::clear: return clear_next(m);
    }
    return answer(Status::bad_syscall);
}

}  // namespace

}  // namespace margay::pmem

void program_main(std::uint64_t) {
    using namespace margay;
    open_startup_log();
    if (const StartupItem* work = find_startup_item(pmem::work_item)) pmem::clear_at_leisure(*work);
    static pmem::Server server{*mapped<pmem::KeptBook>(pmem::need(pmem::book_item))};
    Received r = reply_wait({});
    for (;;) {
        const Message reply = r.status == Status::ok ? server.serve(r.badge, r.message) : Message{};
        r = reply_wait(reply);
    }
}

// Capabilities, derivation and revocation: every operation against a simple model, in random order.
#include <random>

#include "capability_model.hpp"

namespace margay {
namespace {

class Walk {
  public:
    explicit Walk(unsigned seed) : random_{seed} { machine::now.gigabyte_pages = seed % 2 == 0; }

    void run(unsigned steps, std::map<Status, unsigned>& seen) {
        for (unsigned n = 0; n < steps; ++n) {
            const std::vector<Thing*> domains = model_.domains();
            actor_domain_ = pick(3) == 0 ? domains[pick(domains.size())] : model_.home();
            actor_ = Model::actor(*actor_domain_);
            if (actor_ == nullptr) continue;
            expected_.clear();
            Status s = Status::ok;
            switch (pick(16)) {
            case 0:
            case 1:
            case 2: s = carve(); break;
            case 3:
            case 4:
            case 5: s = copy(); break;
            case 6:
            case 7:
            case 8:
            case 9: s = create(); break;
            case 10:
            case 11:
            case 12:
            case 13: s = map(); break;
            default: s = revoke(); break;
            }
            ++seen[s];
            if (expected_.empty())
                ASSERT_EQ(s, Status::ok) << what_ << ", step " << n;
            else
                ASSERT_TRUE(expected_.count(s)) << what_ << ", step " << n << ": " << to_text(s);
            model_.check();
            if (testing::Test::HasFatalFailure()) {
                ADD_FAILURE() << what_ << ", step " << n;
                return;
            }
        }
        // All storage can be taken back, and used again.
        for (const unsigned slot : {first::ram, first::big, first::device, first::ports}) {
            Item* i = Model::at(*model_.home(), slot);
            ASSERT_EQ(system_.call(Syscall::revoke, {slot, 0}), Status::ok);
            model_.revoke(i, false);
            ASSERT_EQ(i->uses, 0u);
        }
        model_.check();
        ASSERT_EQ(system_.domain->slots[first::ram].uses, 0u);
        Slot to = first::free;
        while (Model::at(*model_.home(), to) != nullptr) ++to;
        ASSERT_EQ(system_.call(Syscall::create,
                               {pair(3, to), first::ram, system_.storage.value(), storage_bytes}),
                  Status::ok);
    }

  private:
    std::uint64_t pick(std::uint64_t n) { return random_() % n; }
    template <typename T>
    T choose(std::initializer_list<T> list) {
        return list.begin()[pick(list.size())];
    }
    // A slot of the actor's table: mostly one of that type, sometimes anything.
    std::uint64_t some(ObjectType type) {
        if (pick(20) == 0) return pick(actor_domain_->slots + 3);
        std::vector<unsigned> fit;
        for (const auto& [slot, item] : actor_domain_->table)
            if (type == ObjectType::none || item->type == type) fit.push_back(slot);
        return fit.empty() ? pick(actor_domain_->slots) : fit[pick(fit.size())];
    }
    std::uint64_t empty_slot(Thing& d) {
        for (unsigned n = 0; n < 8 && pick(20) != 0; ++n) {
            const std::uint64_t slot = pick(d.slots);
            if (Model::at(d, slot) == nullptr) return slot;
        }
        return pick(d.slots + 2);
    }
    Status call(Syscall number, std::initializer_list<std::uint64_t> a) {
        return system_.call(*actor_, number, a);
    }

    Status carve() {
        what_ = "carve";
        const std::uint64_t from = some(ObjectType::memory), to = empty_slot(*actor_domain_);
        std::uint64_t base = pick(1 << 20), size = kib4;
        Item* i = Model::at(*actor_domain_, from);
        if (i != nullptr && i->type == ObjectType::memory) {
            const std::uint64_t unit = i->memory == MemoryType::ports ? 1 : kib4;
            if (i->memory == MemoryType::ports && i->size > 0x100) {
                base = 0x3f0 + pick(32), size = 1 + pick(16);
            } else {
                size = unit * (1 + pick(std::max<std::uint64_t>(
                                       1, std::min<std::uint64_t>(i->size / unit / 2, 64))));
                base = i->base + unit * pick(i->size / unit);
            }
            if (pick(25) == 0) base += unit / 2 + 1;
            if (pick(25) == 0)
                size = choose<std::uint64_t>({0, i->size + unit, ~0ull, ~0ull - unit + 1});
        }
        Model::need_empty(*actor_domain_, to, expected_);
        i = Model::need(*actor_domain_, from, ObjectType::memory, right::derive, expected_);
        if (i != nullptr) {
            const std::uint64_t unit = i->memory == MemoryType::ports ? 1 : kib4;
            const bool inside = size != 0 && base % unit == 0 && size % unit == 0 &&
                                base >= i->base && size <= i->size &&
                                base - i->base <= i->size - size;
            if (!inside)
                expected_.insert(Status::bad_argument);
            else if (Model::carved_overlaps(Model::root_of(i), base, size))
                expected_.insert(Status::in_use);
            Model::need_use(i, ExtentState::carved, expected_);
            Model::need_depth(i, expected_);
        }
        const Status s = call(Syscall::create, {pair(3, to), from, base, size, pick(2)});
        if (s != Status::ok || !expected_.empty()) return s;
        Model::use(i, ExtentState::carved);
        Item* c = model_.add_item(i, ObjectType::memory, actor_domain_, static_cast<unsigned>(to));
        c->base = base, c->size = size, c->rights = i->rights, c->memory = i->memory;
        return s;
    }

    Status copy() {
        what_ = "copy";
        const std::uint64_t from = some(pick(3) == 0 ? ObjectType::memory : ObjectType::none);
        const std::uint64_t into = some(ObjectType::domain);
        const std::uint64_t rights = pick(3) == 0 ? pick(0x102) : right::all;
        const std::uint64_t badge = pick(3) == 0 ? 1 + pick(15) : 0;
        Item* source = Model::need(*actor_domain_, from, ObjectType::none, 0, expected_);
        Item* domain =
            Model::need(*actor_domain_, into, ObjectType::domain, right::grant, expected_);
        std::uint64_t to = pick(200);
        if (domain != nullptr) {
            to = empty_slot(*domain->thing);
            Model::need_empty(*domain->thing, to, expected_);
        }
        if (rights > right::all) expected_.insert(Status::bad_argument);
        std::uint64_t second = source != nullptr ? source->badge : 0;
        if (source != nullptr) {
            if (badge != 0 && source->type == ObjectType::event)
                second = source->badge & badge;
            else if (badge != 0 && source->type == ObjectType::portal && source->badge == 0)
                second = badge;
            else if (badge != 0)
                expected_.insert(Status::bad_argument);
            Model::need_depth(source, expected_);
        }
        const Status s = call(Syscall::copy, {from, pair(into, to), rights, badge});
        if (s != Status::ok || !expected_.empty()) return s;
        Item* c = model_.add_item(source, source->type, domain->thing, static_cast<unsigned>(to));
        c->copy = true;
        c->rights = source->rights & static_cast<unsigned>(rights);
        c->memory = source->memory, c->base = source->base, c->size = source->size;
        c->badge = second;
        c->thing = source->thing;
        return s;
    }

    Status create() {
        what_ = "create";
        const auto type =
            choose({ObjectType::domain, ObjectType::space, ObjectType::thread, ObjectType::vcpu,
                    ObjectType::portal, ObjectType::event, ObjectType::irq, ObjectType::thread,
                    ObjectType::domain, ObjectType::core, ObjectType::none});
        const std::uint64_t from = some(ObjectType::memory), to = empty_slot(*actor_domain_);
        Item* i = Model::at(*actor_domain_, from);
        // The whole of the storage and the paper memory are for carving and mapping.
        if (i != nullptr && i->type == ObjectType::memory &&
            (i->size > 1 << 20 || i->base >= 1 << 28))
            return Status::ok;
        Model::need_empty(*actor_domain_, to, expected_);
        i = Model::need(*actor_domain_, from, ObjectType::memory, right::derive, expected_);
        if (i != nullptr) {
            if (i->memory != MemoryType::ram || (i->rights & 3) != 3)
                expected_.insert(Status::bad_argument);
            Model::need_use(i, ExtentState::storage, expected_);
            Model::need_depth(i, expected_);
        }
        std::uint64_t a[5] = {};
        const std::uint64_t size = i != nullptr ? i->size : 0;
        Thing made;
        made.type = type;
        Thing* handler = nullptr;
        Item* page = nullptr;
        Item* bound_to = nullptr;
        const auto core = [this](std::uint64_t slot) {
            return Model::need(*actor_domain_, slot, ObjectType::core, right::control, expected_);
        };
        const std::uint64_t core_slot = some(ObjectType::core);
        switch (type) {
        case ObjectType::domain: {
            a[0] = choose<std::uint64_t>({16, 24, 40, 0, (1 << 20) + 1}),
            a[1] = choose<std::uint64_t>({4, 8, 100});
            const std::uint64_t fixed =
                2 * kib4 + align_up(a[0] * slot_bytes, kib4) + align_up(a[1] * mapping_bytes, kib4);
            if (a[0] == 0 || a[0] > 1 << 20)
                expected_.insert(Status::bad_argument);
            else if (size < fixed)
                expected_.insert(Status::no_memory);
            else
                made.pool = static_cast<unsigned>((size - fixed) / kib4);
            made.slots = static_cast<unsigned>(a[0]), made.records = static_cast<unsigned>(a[1]);
            break;
        }
        case ObjectType::space: {
            a[0] = choose<std::uint64_t>({4, 16, (1 << 20) + 1});
            const std::uint64_t fixed = 7 * kib4 + align_up(a[0] * mapping_bytes, kib4);
            if (a[0] > 1 << 20)
                expected_.insert(Status::bad_argument);
            else if (size < fixed)
                expected_.insert(Status::no_memory);
            else
                made.pool = static_cast<unsigned>((size - fixed) / kib4);
            made.records = static_cast<unsigned>(a[0]);
            break;
        }
        case ObjectType::thread: {
            a[0] = some(ObjectType::domain);
            const std::uint64_t priority = pick(15) == 0 ? 64 : pick(60);
            a[1] = pair(core_slot, priority), a[2] = pick(15) == 0 ? user_end : 0x401000,
            a[3] = 0x7000;
            Item* d =
                Model::need(*actor_domain_, a[0], ObjectType::domain, right::control, expected_);
            Item* c = core(core_slot);
            if (d != nullptr) made.domain = d->thing;
            if (c != nullptr) made.core = c->thing->core;
            if (priority >= 64 || a[2] >= user_end) expected_.insert(Status::bad_argument);
            break;
        }
        case ObjectType::vcpu: {
            a[0] = some(ObjectType::space), a[1] = pair(core_slot, pick(60)),
            a[2] = some(ObjectType::memory);
            Model::need(*actor_domain_, a[0], ObjectType::space, right::control, expected_);
            core(core_slot);
            Item* p = Model::at(*actor_domain_, a[2]);
            if (p != nullptr && p->base >= 1 << 28) return expected_.clear(), Status::ok;
            page = Model::need(*actor_domain_, a[2], ObjectType::memory, 3, expected_);
            if (page != nullptr) {
                if (page->memory != MemoryType::ram) expected_.insert(Status::bad_argument);
                Model::need_use(page, ExtentState::mapped, expected_);
                Model::need_depth(page, expected_);
                if (i != nullptr && Model::root_of(page) == Model::root_of(i))
                    expected_.insert(Status::in_use);
            }
            if (size < storage_vcpu) expected_.insert(Status::no_memory);
            break;
        }
        case ObjectType::portal: {
            a[0] = pick(2) == 0 ? no_slot : some(ObjectType::thread), a[1] = core_slot;
            Item* c = core(core_slot);
            if (c != nullptr) made.core = c->thing->core;
            if (a[0] == no_slot) break;
            Item* t =
                Model::need(*actor_domain_, a[0], ObjectType::thread, right::control, expected_);
            if (t == nullptr) break;
            handler = t->thing;
            bound_to = t;
            Model::need_depth(t, expected_);
            if (handler->dead) expected_.insert(Status::dead_partner);
            // Also where several things are wrong at once.
            if (c == nullptr || static_cast<Thread*>(handler->kernel)->core->id != made.core)
                expected_.insert(Status::wrong_core);
            break;
        }
        case ObjectType::irq: {
            a[0] = some(ObjectType::irq_control), a[1] = pick(30);
            Model::need(*actor_domain_, a[0], ObjectType::irq_control, right::control, expected_);
            if (a[1] >= 24)
                expected_.insert(Status::bad_argument);
            else if (model_.has_irq(static_cast<unsigned>(a[1])))
                expected_.insert(Status::in_use);
            made.gsi = static_cast<unsigned>(a[1]);
            break;
        }
        case ObjectType::event: break;
        default: expected_.insert(Status::wrong_type); break;
        }
        const Status s = call(Syscall::create, {pair(static_cast<std::uint64_t>(type), to), from,
                                                a[0], a[1], a[2], a[3], a[4]});
        if (s != Status::ok || !expected_.empty()) return s;
        Model::use(i, ExtentState::storage);
        Thing* t = model_.add_thing(type, direct<void>(HostPhys{i->base}));
        void* const kernel = t->kernel;
        *t = made;
        t->kernel = kernel;
        if (t->domain != nullptr) t->domain->threads.push_back(t);
        Item* c = model_.add_item(i, type, actor_domain_, static_cast<unsigned>(to));
        c->rights = right::all;
        c->thing = t;
        c->badge = type == ObjectType::event ? ~0ull : 0;
        if (page != nullptr) {
            Model::use(page, ExtentState::mapped);
            t->page = model_.add_item(page, binding_node, nullptr, 0);
            t->page->kind = Item::Kind::page;
            t->page->thing = t;
        }
        if (bound_to != nullptr) {
            t->binding = model_.add_item(bound_to, binding_node, nullptr, 0);
            t->binding->kind = Item::Kind::binding;
            t->binding->thing = t;
        }
        return s;
    }

    Status map() {
        what_ = "map";
        const std::uint64_t from = some(ObjectType::memory);
        const std::uint64_t into = some(pick(2) == 0 ? ObjectType::domain : ObjectType::space);
        Item* m = Model::need(*actor_domain_, from, ObjectType::memory, 0, expected_);
        Item* t = Model::need(*actor_domain_, into, ObjectType::none, right::map, expected_);
        if (t != nullptr && t->type != ObjectType::domain && t->type != ObjectType::space) {
            expected_.insert(Status::wrong_type);
            t = nullptr;
        }
        const bool guest = t != nullptr && t->type == ObjectType::space;
        std::uint64_t offset = 0, size = kib4, address = 0;
        std::uint64_t rights = choose<std::uint64_t>({1, 3, 5, 7, 1 | 8, 3, 3, 3});
        if (pick(25) == 0) rights = choose<std::uint64_t>({0, 2, 16 | 1});
        const bool ports = m != nullptr && m->memory == MemoryType::ports;
        if (m != nullptr) {
            const std::uint64_t unit = ports ? 1 : choose<std::uint64_t>({kib4, kib4, mib2, gib});
            size = std::min<std::uint64_t>(m->size, ports ? 16 : unit * (1 + pick(3)));
            offset = m->size - size == 0 ? 0 : align_down(pick(m->size - size), ports ? 1 : unit);
            if (ports && m->size > 0x100) offset = 0x3f0 + pick(16);
            address = ports ? m->base + offset : (1 + pick(4)) * gib + pick(3) * unit;
            if (pick(40) == 0) size += 100;
            if (pick(40) == 0) address += 1;
            if (pick(40) == 0) size = choose<std::uint64_t>({0, ~0ull});
            if (pick(40) == 0 && !ports)
                address = choose<std::uint64_t>({0, user_end, guest_end, ~0ull << 12});
        }
        if (m != nullptr) {
            if ((rights & 1) == 0 || rights > 15)
                expected_.insert(Status::bad_argument);
            else if ((rights & 7 & ~m->rights) != 0)
                expected_.insert(Status::no_right);
            if (size == 0 || offset > m->size || size > m->size - offset)
                expected_.insert(Status::bad_argument);
        }
        if (m != nullptr && t != nullptr) {
            if (t->thing->mappings.size() == t->thing->records) expected_.insert(Status::no_memory);
            Model::need_use(m, ExtentState::mapped, expected_);
            Model::need_depth(m, expected_);
            const std::uint64_t low = guest ? 0 : user_begin, high = guest ? guest_end : user_end;
            if (ports) {
                if (!guest || address != m->base + offset) expected_.insert(Status::bad_argument);
                for (const Item* other : t->thing->mappings)
                    if (other->parent->memory == MemoryType::ports &&
                        address < other->address + other->size && other->address < address + size)
                        expected_.insert(Status::occupied);
            } else {
                if ((address | offset | size) % kib4 != 0 || address < low || address >= high ||
                    size > high - address)
                    expected_.insert(Status::bad_argument);
                if (!guest && (rights & 6) == 6) expected_.insert(Status::bad_argument);
                if (expected_.empty()) {
                    Model::Pages pages = Model::pages_of(*t->thing);
                    std::uint64_t leaves = 0;
                    for (std::uint64_t done = 0; done < size && leaves <= max_map_leaves; ++leaves)
                        done += leaf_size(best_level(address + done, m->base + offset + done,
                                                     size - done, Model::max_level()));
                    if (leaves > max_map_leaves)
                        expected_.insert(Status::bad_argument);
                    else if (const Status s = pages.add(address, m->base + offset, size,
                                                        Model::max_level(), t->thing->pool);
                             s != Status::ok)
                        expected_.insert(s);
                }
            }
        }
        const Status s = call(Syscall::map, {pair(from, into), address, offset, size, rights});
        if (s != Status::ok || !expected_.empty()) return s;
        Model::use(m, ExtentState::mapped);
        Item* n = model_.add_item(m, mapping_node, nullptr, 0);
        n->kind = Item::Kind::mapping;
        n->thing = t->thing;
        n->address = address, n->size = size, n->base = m->base + offset;
        t->thing->mappings.push_back(n);
        return s;
    }

    Status revoke() {
        what_ = "revoke";
        std::uint64_t slot = some(pick(2) == 0 ? ObjectType::memory : ObjectType::none);
        std::uint64_t self = pick(2);
        if (pick(30) == 0) self = 2;
        // The first capabilities, and the whole storage, are taken back at the end.
        if (actor_domain_ == model_.home() && slot < first::free)
            slot = pick(6) == 0 ? slot : first::free + pick(100),
            self = slot < first::free ? 0 : self;
        if (slot == first::domain || slot == first::thread) return Status::ok;
        Item* i = Model::at(*actor_domain_, slot);
        if (i == nullptr) expected_.insert(Status::bad_capability);
        if (self > 1) expected_.insert(Status::bad_argument);
        const Status s = call(Syscall::revoke, {slot, self});
        if (s == Status::ok && expected_.empty()) model_.revoke(i, self != 0);
        return s;
    }

    std::mt19937_64 random_;
    System system_;
    Model model_{system_};
    Thing* actor_domain_ = nullptr;
    Thread* actor_ = nullptr;
    Statuses expected_;
    const char* what_ = "";
};

class RandomCapabilities : public testing::TestWithParam<unsigned> {};

TEST_P(RandomCapabilities, AgainstTheModel) {
    std::map<Status, unsigned> seen;
    for (unsigned k = 0; k < 40; ++k) {
        SCOPED_TRACE(testing::Message() << "walk " << GetParam() * 40 + k);
        Walk{GetParam() * 40 + k}.run(150, seen);
        if (HasFatalFailure()) return;
    }
    // The walks must reach every answer.
    for (const Status s :
         {Status::ok, Status::bad_capability, Status::wrong_type, Status::no_right,
          Status::bad_argument, Status::no_memory, Status::in_use, Status::occupied})
        EXPECT_GT(seen[s], 0u) << to_text(s);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomCapabilities, testing::Range(0u, 8u));

}  // namespace
}  // namespace margay

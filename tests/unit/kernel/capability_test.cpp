// Capabilities, derivation and revocation: every operation against a simple model, in random order.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "system.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {
namespace {

constexpr std::uint64_t kib4 = 4096, mib2 = 2 << 20, gib = 1 << 30;

struct Item;

// A kernel object as the model sees it.
struct Thing {
    ObjectType type = ObjectType::none;
    void* kernel = nullptr;
    unsigned slots = 0, records = 0, pool = 0;  // domain, space
    std::map<unsigned, Item*> table;            // domain
    std::vector<Item*> mappings;                // domain, space
    Thing* domain = nullptr;                    // thread: null once its domain is gone
    bool dead = false;                          // thread, vcpu
    unsigned core = 0;                          // thread, portal
    Item* page = nullptr;                       // vcpu
    Item* binding = nullptr;                    // portal: to its handler
    std::vector<Thing*> threads;                // domain
    unsigned gsi = 0;
};

// A node of the derivation tree: a capability, a mapping, the use as a state page, or a portal's handler.
struct Item {
    enum class Kind { capability, mapping, page, binding } kind = Kind::capability;
    Item* parent = nullptr;
    std::vector<Item*> children;
    ObjectType type = ObjectType::none;
    unsigned rights = 0, depth = 0;
    bool copy = false;
    MemoryType memory = MemoryType::ram;
    std::uint64_t base = 0, size = 0, badge = 0;
    ExtentState use = ExtentState::unused;
    unsigned uses = 0;
    Thing* thing = nullptr;  // mapping: the target; page: the vCPU
    Thing* home = nullptr;   // whose table
    unsigned slot = 0;
    std::uint64_t address = 0, flags = 0;  // mapping
};

using Statuses = std::set<Status>;

class Model {
  public:
    explicit Model(System& system) : system_{system} {
        home_ = add_thing(ObjectType::domain, system.domain);
        home_->slots = first::slots, home_->records = first::mappings,
        home_->pool = first::pool_pages;
        Thing* boot = add_thing(ObjectType::thread, system.boot);
        boot->domain = home_;
        home_->threads.push_back(boot);
        for (unsigned i = 0; i < first::free; ++i) {
            const CapSlot& s = system.domain->slots[i];
            Item* item = add_item(nullptr, s.type, home_, i);
            item->copy = s.is_copy;
            item->rights = s.rights;
            item->memory = s.memory;
            if (s.type == ObjectType::memory) item->base = s.base, item->size = s.size;
        }
        home_->table[first::domain]->thing = home_;
        home_->table[first::thread]->thing = boot;
        unsigned core = 0;
        for (const Slot slot : {first::core0, first::core1, first::core2}) {
            Thing* t = add_thing(ObjectType::core, nullptr);
            t->core = core++;
            home_->table[slot]->thing = t;
        }
    }

    Thing* home() { return home_; }
    std::vector<Thing*> domains() const {
        std::vector<Thing*> all;
        for (const auto& t : things_)
            if (t->type == ObjectType::domain) all.push_back(t.get());
        return all;
    }
    bool has_irq(unsigned gsi) const {
        return std::ranges::any_of(
            things_, [gsi](const auto& t) { return t->type == ObjectType::irq && t->gsi == gsi; });
    }
    // A thread that can act for the domain, or null.
    static Thread* actor(const Thing& domain) {
        for (Thing* t : domain.threads)
            if (!t->dead) return static_cast<Thread*>(t->kernel);
        return nullptr;
    }

    static Item* at(Thing& d, std::uint64_t slot) {
        const auto found = d.table.find(static_cast<unsigned>(slot));
        return slot > 0xffff'ffff || found == d.table.end() ? nullptr : found->second;
    }
    // Why a capability cannot be used that way.
    static Item* need(Thing& d, std::uint64_t slot, ObjectType type, unsigned rights,
                      Statuses& why) {
        Item* i = at(d, slot);
        if (i == nullptr)
            why.insert(Status::bad_capability);
        else if (type != ObjectType::none && i->type != type)
            why.insert(Status::wrong_type);
        else if ((i->rights & rights) != rights)
            why.insert(Status::no_right);
        else
            return i;
        return nullptr;
    }
    static void need_empty(Thing& d, std::uint64_t slot, Statuses& why) {
        if (slot >= d.slots)
            why.insert(Status::bad_capability);
        else if (at(d, slot) != nullptr)
            why.insert(Status::occupied);
    }
    static Item* root_of(Item* i) {
        while (i->copy && i->parent != nullptr) i = i->parent;
        return i;
    }
    static void need_use(Item* i, ExtentState use, Statuses& why) {
        const Item* root = root_of(i);
        if (root->uses != 0 && (root->use != use || use == ExtentState::storage))
            why.insert(Status::in_use);
    }
    static void need_depth(const Item* parent, Statuses& why) {
        if (parent->depth + 1 > max_derivation_depth) why.insert(Status::too_deep);
    }
    static bool carved_overlaps(const Item* i, std::uint64_t base, std::uint64_t size) {
        for (const Item* c : i->children) {
            if (c->kind != Item::Kind::capability || c->type != ObjectType::memory) continue;
            if (c->copy ? carved_overlaps(c, base, size)
                        : base < c->base + c->size && c->base < base + size)
                return true;
        }
        return false;
    }
    static void use(Item* i, ExtentState how) {
        Item* root = root_of(i);
        root->use = how;
        ++root->uses;
    }
    static void release(Item* i) {
        Item* root = root_of(i);
        if (--root->uses == 0) root->use = ExtentState::unused;
    }

    Item* add_item(Item* parent, ObjectType type, Thing* home, unsigned slot) {
        items_.push_back(std::make_unique<Item>());
        Item* i = items_.back().get();
        i->parent = parent;
        i->type = type;
        i->home = home;
        i->slot = slot;
        if (parent != nullptr) {
            parent->children.push_back(i);
            i->depth = parent->depth + 1;
        }
        if (home != nullptr) home->table[slot] = i;
        return i;
    }
    Thing* add_thing(ObjectType type, void* kernel) {
        things_.push_back(std::make_unique<Thing>());
        things_.back()->type = type;
        things_.back()->kernel = kernel;
        return things_.back().get();
    }

    static bool is_object(const Item& i) {
        return i.kind == Item::Kind::capability && !i.copy && i.type != ObjectType::memory;
    }
    void revoke(Item* i, bool self) {
        while (!i->children.empty()) revoke(i->children.back(), true);
        if (self) remove(i);
    }

    // Page tables of a target: how many it needs, and what a further mapping would do.
    struct Pages {
        std::map<std::uint64_t, std::pair<unsigned, std::uint64_t>>
            leaves;  // address: level, physical
        std::set<std::pair<unsigned, std::uint64_t>> tables;
        Status add(std::uint64_t va, std::uint64_t pa, std::uint64_t size, unsigned max_level,
                   unsigned pool) {
            for (std::uint64_t done = 0; done < size;) {
                const unsigned level = best_level(va + done, pa + done, size - done, max_level);
                const std::uint64_t begin = va + done, end = begin + leaf_size(level);
                const auto next = leaves.lower_bound(begin);
                bool taken = next != leaves.end() && next->first < end;
                if (next != leaves.begin()) {
                    const auto& [at, leaf] = *std::prev(next);
                    taken = taken || at + leaf_size(leaf.first) > begin;
                }
                if (taken) return Status::occupied;
                for (unsigned l = 3; l > level; --l) {
                    if (!tables.insert({l, begin >> (12 + 9 * l)}).second) continue;
                    if (tables.size() > pool) return Status::no_memory;
                }
                leaves[begin] = {level, pa + done};
                done = end - va;
            }
            return Status::ok;
        }
    };
    static unsigned max_level() { return machine::now.gigabyte_pages ? 2 : 1; }
    static Pages pages_of(const Thing& target) {
        Pages p;
        for (const Item* m : target.mappings)
            if (m->parent->memory != MemoryType::ports)
                p.add(m->address, m->base, m->size, max_level(), ~0u);
        return p;
    }

    void check();

  private:
    void remove(Item* i) {
        if (is_object(*i) && i->thing != nullptr) {
            Thing* t = i->thing;
            while (!t->table.empty()) revoke(t->table.begin()->second, true);
            while (!t->mappings.empty()) revoke(t->mappings.back(), true);
            if (t->page != nullptr) revoke(t->page, true);
            if (t->binding != nullptr) revoke(t->binding, true);
            if (t->domain != nullptr) std::erase(t->domain->threads, t);
            for (Thing* thread : t->threads) thread->dead = true, thread->domain = nullptr;
            gone_.insert(t);
        }
        if (i->parent != nullptr) {
            const bool extent = i->kind == Item::Kind::capability && i->type == ObjectType::memory;
            const bool use = i->kind == Item::Kind::mapping || i->kind == Item::Kind::page;
            if (!i->copy && (is_object(*i) || extent || use)) release(i->parent);
            std::erase(i->parent->children, i);
        }
        if (i->kind == Item::Kind::mapping) std::erase(i->thing->mappings, i);
        if (i->kind == Item::Kind::page) i->thing->page = nullptr, i->thing->dead = true;
        if (i->kind == Item::Kind::binding) i->thing->binding = nullptr;
        if (i->home != nullptr) i->home->table.erase(i->slot);
        Thing* thing = is_object(*i) ? i->thing : nullptr;
        std::erase_if(items_, [i](const auto& p) { return p.get() == i; });
        if (thing != nullptr)
            std::erase_if(things_, [thing](const auto& p) { return p.get() == thing; });
    }

    System& system_;
    Thing* home_;
    std::vector<std::unique_ptr<Item>> items_;
    std::vector<std::unique_ptr<Thing>> things_;
    std::set<Thing*> gone_;
};

// Leaves and tables below a table of the user's half.
void count(HostPhys table, unsigned level, unsigned entries, unsigned& leaves, unsigned& tables) {
    const auto* e = direct<std::uint64_t>(table);
    for (unsigned i = 0; i < entries; ++i) {
        if (e[i] == 0) continue;
        ASSERT_NE(e[i] & pte::present, 0u);
        if (level == 0 || (e[i] & pte::large) != 0) {
            ++leaves;
        } else {
            ++tables;
            count(HostPhys{e[i] & pte::address_mask}, level - 1, 512, leaves, tables);
        }
    }
}

// Everything that can be seen of the kernel's state against the model.
void Model::check() {
    for (const auto& thing : things_) {
        if (thing->type == ObjectType::domain) {
            auto& d = *static_cast<Domain*>(thing->kernel);
            ASSERT_EQ(d.slot_count, thing->slots);
            for (unsigned n = 0; n < thing->slots; ++n) {
                const CapSlot& s = d.slots[n];
                const Item* i = at(*thing, n);
                ASSERT_EQ(s.type, i != nullptr ? i->type : ObjectType::none) << "slot " << n;
                if (i == nullptr) {
                    ASSERT_TRUE(s.children.empty());
                    ASSERT_EQ(s.parent, nullptr);
                    continue;
                }
                ASSERT_EQ(s.rights, i->rights);
                ASSERT_EQ(s.depth, i->depth);
                ASSERT_EQ(s.is_copy, i->copy);
                ASSERT_FALSE(s.revoking);
                ASSERT_EQ(s.children.size(), i->children.size()) << "slot " << n;
                const CapSlot* parent = nullptr;
                if (i->parent != nullptr)
                    parent = &static_cast<Domain*>(i->parent->home->kernel)->slots[i->parent->slot];
                ASSERT_EQ(s.parent, parent);
                if (i->type == ObjectType::memory) {
                    ASSERT_EQ(s.base, i->base);
                    ASSERT_EQ(s.size, i->size);
                    ASSERT_EQ(s.memory, i->memory);
                    ASSERT_EQ(s.uses, i->uses) << "slot " << n;
                    ASSERT_EQ(s.extent, i->use) << "slot " << n;
                } else if (i->thing != nullptr && i->type != ObjectType::core) {
                    ASSERT_EQ(s.object, i->thing->kernel);
                }
                if (i->type == ObjectType::event || i->type == ObjectType::portal) {
                    ASSERT_EQ(s.badge, i->badge);
                }
            }
            ASSERT_EQ(d.threads.size(), thing->threads.size());
        }
        if (thing->type == ObjectType::thread) {
            const auto& t = *static_cast<Thread*>(thing->kernel);
            ASSERT_EQ(t.state == ContextState::dead, thing->dead);
            ASSERT_EQ(t.domain, thing->domain != nullptr ? thing->domain->kernel : nullptr);
        }
        if (thing->type == ObjectType::vcpu) {
            const auto& v = *static_cast<Vcpu*>(thing->kernel);
            ASSERT_EQ(v.page != nullptr, thing->page != nullptr);
        }
        if (thing->type != ObjectType::domain && thing->type != ObjectType::space) continue;
        MapTarget& target = thing->type == ObjectType::domain
                                ? static_cast<MapTarget&>(*static_cast<Domain*>(thing->kernel))
                                : static_cast<MapTarget&>(*static_cast<Space*>(thing->kernel));
        const Pages pages = pages_of(*thing);
        unsigned leaves = 0, tables = 0;
        count(target.root(), 3, target.is_guest() ? 512 : 256, leaves, tables);
        ASSERT_EQ(leaves, pages.leaves.size());
        ASSERT_EQ(tables, pages.tables.size());
        for (const auto& [address, leaf] : pages.leaves) {
            const std::optional<Leaf> found = target.tables().lookup(address);
            ASSERT_TRUE(found);
            ASSERT_EQ(found->level, leaf.first);
            ASSERT_EQ(found->physical.value(), leaf.second);
        }
        if (!target.is_guest()) continue;
        std::set<std::uint32_t> open;
        for (const Item* m : thing->mappings)
            if (m->parent->memory == MemoryType::ports)
                for (std::uint64_t p = 0; p < m->size; ++p)
                    open.insert(static_cast<std::uint32_t>(m->address + p));
        for (std::uint32_t p = 0x3f0; p < 0x420; ++p)
            ASSERT_EQ(static_cast<Space&>(target).permissions.intercepts_port(p),
                      open.count(p) == 0)
                << std::hex << p;
    }
}

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

TEST(Capabilities, DepthIsLimited) {
    System s;
    Slot last = first::event_slot;
    s.make(ObjectType::event, last, kib4);
    Status status = Status::ok;
    unsigned depth = s.domain->slots[last].depth;
    for (Slot to = 60; status == Status::ok && to < first::slots; ++to) {
        status = s.call(Syscall::copy, {last, pair(first::domain, to), right::all});
        if (status == Status::ok) last = to, ++depth;
    }
    EXPECT_EQ(status, Status::too_deep);
    EXPECT_EQ(depth, max_derivation_depth);
    EXPECT_EQ(s.domain->slots[last + 1].type, ObjectType::none);
    EXPECT_EQ(s.call(Syscall::revoke, {first::event_slot, 1}), Status::ok);
    EXPECT_EQ(s.domain->slots[first::event_slot + 1].uses, 0u);
    for (Slot to = first::event_slot; to < first::slots; ++to)
        if (to != first::event_slot + 1) {
            EXPECT_EQ(s.domain->slots[to].type, ObjectType::none);
        }
}

TEST(Capabilities, ObjectTypesBeyondTheLastAreRefused) {
    System s;
    s.carve(20, kib4);
    for (const std::uint64_t type :
         {0ull, 9ull, 10ull, 11ull, 0x40ull, 0x103ull, 0x107ull, 0xffff'ff07ull})
        EXPECT_EQ(s.call(Syscall::create, {pair(type, 21), 20, 0, 0}), Status::wrong_type) << type;
    EXPECT_EQ(s.domain->slots[21].type, ObjectType::none);
}

// A revocation takes many steps when there is much to remove, and others run in between. Nobody can put
// anything into a Domain that is going away.
TEST(Capabilities, NothingEntersADomainThatIsGoingAway) {
    System s;
    s.make(ObjectType::domain, 20, 2 << 20, {9000, 8});
    s.make(ObjectType::event, 30, kib4);
    for (unsigned i = 1; i < 9000; ++i)
        ASSERT_EQ(s.call(Syscall::copy, {30, pair(20, i), right::all}), Status::ok);
    const CapSlot& storage = s.domain->slots[21];
    unsigned steps = 1;
    for (; !s.step(Syscall::revoke, {21, 0}); ++steps) {
        EXPECT_EQ(s.call(Syscall::copy, {30, pair(20, 2), right::all}), Status::bad_capability);
        EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), 0x100000, 0, kib4, 1}),
                  Status::bad_capability);
        EXPECT_EQ(s.call(Syscall::create, {pair(3, 40), 21, storage.base, kib4}),
                  Status::bad_capability);
    }
    EXPECT_GT(steps, 100u) << "bounded work in each";
    EXPECT_TRUE(s.domain->slots[30].children.empty()) << "a copy outlived its table";
    EXPECT_EQ(storage.uses, 0u);
}

// A mapping that fails half way was visible for a moment: no TLB may keep it, and the page tables that
// it took are there for the next one.
TEST(Capabilities, FailedMappingLeavesNothingBehind) {
    System s;
    s.make(ObjectType::space, 20, 7 * kib4 + kib4 + 3 * kib4, {8});
    Space& space = s.object<Space>(20);
    ASSERT_EQ(s.call(Syscall::map, {pair(first::big, 20), 3 * kib4, 0, kib4, 1}), Status::ok);
    space.cores.add(0), space.cores.add(1);  // guests have run on both
    const std::uint64_t generation = space.generation(), before = machine::now.cr3_writes[1];
    EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), 0, 0, 4 * kib4, 1}), Status::occupied);
    EXPECT_GT(space.generation(), generation);
    EXPECT_GT(machine::now.cr3_writes[1], before) << "the other core was not told";
    ASSERT_EQ(s.call(Syscall::revoke, {first::big, 0}), Status::ok);
    // Two pages on both sides of a border need six tables, and there are three.
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), 512ull * gib - kib4, 0, 2 * kib4, 1}),
                  Status::no_memory);
    EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), kib4, 0, kib4, 1}), Status::ok);
}

TEST(Capabilities, RevocationReachesTheOtherCore) {
    System s;
    s.make(ObjectType::domain, 20, 1 << 20, {16, 8});
    Domain& d = s.object<Domain>(20);
    s.make(ObjectType::thread, 30, kib4, {20, pair(first::core1, 5), 0x401000, 0x7000});
    ASSERT_EQ(s.call(Syscall::thread_ctl, {30, 0}), Status::ok);
    EXPECT_EQ(System::leave(1), &s.object<Thread>(30));
    EXPECT_EQ(machine::now.cr3[1], d.cr3);
    machine::switch_to(0);
    ASSERT_EQ(s.call(Syscall::map, {pair(first::big, 20), mib2, 0, mib2, 3}), Status::ok);
    const std::uint64_t before = machine::now.cr3_writes[1];
    ASSERT_EQ(s.call(Syscall::revoke, {first::big, 0}), Status::ok);
    EXPECT_GT(machine::now.cr3_writes[1], before) << "its TLB still has the mapping";
    EXPECT_FALSE(d.tables().lookup(mib2));
    // The Domain goes: the core must not keep its tables.
    ASSERT_EQ(s.call(Syscall::revoke, {21, 0}), Status::ok);
    EXPECT_NE(machine::now.cr3[1], d.cr3);
    EXPECT_EQ(System::leave(1), nullptr) << "its thread is dead";
}

TEST(Capabilities, LostStatePageStopsTheVcpu) {
    System s;
    s.make(ObjectType::space, 20, 20 * kib4, {8});
    s.carve(30, kib4);
    s.make(ObjectType::vcpu, 31, storage_vcpu, {20, first::core0, 30});
    Vcpu& v = s.object<Vcpu>(31);
    EXPECT_EQ(s.call(Syscall::create, {pair(7, 40), 30}), Status::in_use);
    EXPECT_EQ(s.call(Syscall::map, {pair(30, first::domain), mib2, 0, kib4, 3}), Status::ok)
        << "the VMM sees it";
    EXPECT_EQ(s.call(Syscall::revoke, {30, 0}), Status::ok);
    EXPECT_EQ(v.state, ContextState::dead);
    EXPECT_EQ(v.page, nullptr);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {31, 4, state::all}), Status::in_use);
    EXPECT_EQ(s.call(Syscall::create, {pair(7, 40), 30}), Status::ok) << "free for another use";
    EXPECT_EQ(s.call(Syscall::revoke, {31, 1}), Status::ok);
}

}  // namespace
}  // namespace margay

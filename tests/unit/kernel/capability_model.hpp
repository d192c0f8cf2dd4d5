// What the derivation tree should look like: a simple model of capabilities, mappings and what uses them, which
// is changed beside the kernel and compared with it.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "system.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {

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
inline void Model::check() {
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

}  // namespace margay

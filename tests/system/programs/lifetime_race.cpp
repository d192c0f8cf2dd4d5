// A capability is given and revoked on core 0 without end while core 1 uses it, or the object that it names is
// made and destroyed: for each kind of use. The boot option race= says which, race_ms= for how long if not for ten seconds.
#include <string_view>

#include "libipc/start.hpp"
#include "proto/exit.hpp"
#include "support/options.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;
std::uint64_t ms() { return node->info().tsc_khz; }
std::uint64_t duration;
Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }

// words[0]: how often it went well; words[1]: how often it was refused.
#define MARGAY_USER(name, statement)                                                               \
    [[gnu::section(".text.child_" #name), gnu::aligned(4096), gnu::flatten]] void name(            \
        Shared* s) {                                                                               \
        for (;;) {                                                                                 \
            const Status status = (statement);                                                     \
            const unsigned at = status == Status::ok || status == Status::timed_out ? 0 : 1;       \
            s->words[at] = s->words[at] + 1;                                                       \
        }                                                                                          \
    }
inline Status call_it() {
    Message m{1, {1}};
    return call(child_portal, m);
}
MARGAY_USER(caller, call_it())
MARGAY_USER(signaller, signal(child_portal, 1))
MARGAY_USER(waiter, wait(child_portal, rdtsc() + 1000).status())
MARGAY_USER(memory_user, query_memory(child_portal).status())
MARGAY_USER(port_user, port_write(child_portal, 0x80, 1, 0))
MARGAY_USER(thread_user, thread_ctl(child_portal, ThreadOp::start) == Status::in_use
                             ? Status::ok
                             : Status::stale)
MARGAY_USER(copier, copy(child_portal, child_event, 9) == Status::ok ? revoke(9, revoke_flag::self)
                                                                     : Status::bad_capability)

[[gnu::section(".text.child_echo"), gnu::aligned(4096)]] void echo(Shared*) {
    Received r = reply_wait({});
    for (;;) r = reply_wait(r.message);
}

// What these use is destroyed, not only taken away: words[2] counts what is neither good nor refused.
constexpr unsigned good = 0, refused = 1, neither = 2;
inline void count(Shared* s, Status status) {
    const unsigned at = status == Status::ok               ? good
                        : status == Status::bad_capability ? refused
                                                           : neither;
    s->words[at] = s->words[at] + 1;
}
#define MARGAY_OBJECT_USER(name, ...)                                                              \
    [[gnu::section(".text.child_" #name), gnu::aligned(4096), gnu::flatten]] void name(            \
        Shared* s) {                                                                               \
        for (;;) count(s, (__VA_ARGS__));                                                          \
    }
MARGAY_OBJECT_USER(vcpu_asker, query_vcpu(child_portal).status())
MARGAY_OBJECT_USER(vcpu_counter, count_exits(child_portal, 0).status())
MARGAY_OBJECT_USER(vcpu_reader, vcpu_ctl(child_portal, VcpuOp::read_state, state::all))
MARGAY_OBJECT_USER(acknowledger, irq_ctl(child_portal, IrqOp::acknowledge))
MARGAY_OBJECT_USER(binder, irq_ctl(child_portal, IrqOp::bind, child_memory, 1))
MARGAY_OBJECT_USER(namer, domain_ctl(child_portal, DomainOp::set_name, 'n'))

// Maps page after page of the extent in slot child_portal into the Space in slot child_memory.
[[gnu::section(".text.child_mapper"), gnu::aligned(4096), gnu::flatten]] void mapper(Shared* s) {
    for (std::uint64_t page = 0;; page = (page + 1) % 16)
        count(s, map(child_portal, child_memory, page * page_size, page * page_size, page_size,
                     map_right::read));
}

// Makes an object of one type after the other in the extent in slot child_portal, at words[8], and takes it away
// again, while core 0 takes the extent. Its own Domain is in child_event, its core in child_memory.
constexpr Slot made = 9;
constexpr std::uint64_t create_bytes = 256 << 10;
[[gnu::section(".text.child_creator"), gnu::aligned(4096), gnu::flatten]] void creator(Shared* s) {
    for (unsigned n = 0;; ++n) {
        const unsigned what = n % 5;
        Status status;
        if (what == 0)
            status = create(ObjectType::event, made, child_portal);
        else if (what == 1)
            status = create(ObjectType::domain, made, child_portal, 64, 32);
        else if (what == 2)
            status = create(ObjectType::space, made, child_portal, 32);
        else if (what == 3)
            status = create(ObjectType::thread, made, child_portal, child_event,
                            raw::pair(child_memory, 1), child_code, child_stack, 0);
        else
            status = carve(made, child_portal, s->words[8], page_size);
        count(s, status);
        if (status == Status::ok) (void)revoke(child_portal);
    }
}

struct Kind {
    std::string_view name;
    void (*user)(Shared*);
    bool with_object = false;
};
constexpr Kind kinds[] = {{"call", caller},
                          {"signal", signaller},
                          {"wait", waiter},
                          {"query", memory_user},
                          {"port", port_user},
                          {"thread", thread_user},
                          {"copy", copier},
                          {"vcpu_query", vcpu_asker, true},
                          {"vcpu_count", vcpu_counter, true},
                          {"vcpu_state", vcpu_reader, true},
                          {"acknowledge", acknowledger, true},
                          {"bind", binder, true},
                          {"domain", namer, true},
                          {"map", mapper, true},
                          {"create", creator, true}};

constexpr unsigned line = 4;  // COM1's, which nobody lets interrupt

// What one round gives to the user and takes from it: what slot child_portal names, and child_memory where the
// kind has a second. Even rounds take the first away first, odd ones the second.
class Given {
  public:
    Given(std::string_view kind, const Child& user)
        : kind_{kind},
          user_{user},
          storage_{memory(create_bytes)},
          second_{memory(create_bytes)},
          object_{node->new_slot()},
          other_{node->new_slot()} {
        if (kind == "vcpu_query" || kind == "vcpu_count" || kind == "vcpu_state") {
            space_ = node->new_slot();
            page_ = memory();
            EXPECT_STATUS(create(ObjectType::space, space_, memory(create_bytes).slot, 8),
                          Status::ok);
        } else if (kind == "create") {
            must(copy(init_slot::first_core + 1, user.domain, child_memory), "core");
        }
    }
    void give(std::uint64_t round) {
        const Slot core = init_slot::first_core + round % 2;
        Status s = Status::ok, t = Status::ok;
        if (space_ != no_slot)
            s = create_vcpu(object_, storage_.slot, space_, core, 1, page_.slot);
        else if (kind_ == "acknowledge" || kind_ == "bind")
            s = create(ObjectType::irq, object_, storage_.slot, init_slot::irq_control, line);
        else if (kind_ == "domain")
            s = create(ObjectType::domain, object_, storage_.slot, 64, 32);
        if (kind_ == "bind")
            t = create(ObjectType::event, other_, second_.slot);
        else if (kind_ == "map")
            t = create(ObjectType::space, other_, second_.slot, 64);
        EXPECT_STATUS(s, Status::ok);
        EXPECT_STATUS(t, Status::ok);
        if (has_second()) EXPECT_STATUS(copy(other_, user_.domain, child_memory), Status::ok);
        EXPECT_STATUS(copy(is_memory() ? storage_.slot : object_, user_.domain, child_portal),
                      Status::ok);
    }
    void take(std::uint64_t round) {
        if (has_second() && round % 2 == 1) EXPECT_STATUS(revoke(second_.slot), Status::ok);
        EXPECT_STATUS(revoke(storage_.slot), Status::ok);
        if (has_second() && round % 2 == 0) EXPECT_STATUS(revoke(second_.slot), Status::ok);
    }
    std::uint64_t base() const { return storage_.base; }

  private:
    bool has_second() const { return kind_ == "bind" || kind_ == "map"; }
    bool is_memory() const { return kind_ == "map" || kind_ == "create"; }

    std::string_view kind_;
    const Child& user_;
    Extent storage_, second_, page_;
    Slot object_, other_, space_ = no_slot;
};

// Core 0 copies a capability to the user and takes the copy away.
void race_with_copies(std::string_view wanted, Child& user) {
    Child server{*node};
    Slot target = node->new_slot();
    if (wanted == "call") {
        server.make(1, 20, echo);
        must(create_portal(target, memory().slot, server.thread, init_slot::first_core + 1),
             "portal");
        server.start();
    } else if (wanted == "query" || wanted == "copy") {
        target = memory().slot;
    } else if (wanted == "port") {
        must(carve(target, init_slot::ports, 0x80, 1), "ports");
    } else if (wanted == "thread") {
        server.make(1, 10, echo);
        server.start();
        target = server.thread;
    } else {
        target = must(node->create_event(), "event");
    }
    user.start();
    std::uint64_t rounds = 0;
    for (const std::uint64_t end = rdtsc() + duration; rdtsc() < end; ++rounds) {
        if (wanted == "signal" || wanted == "wait") (void)signal(target, 1);
        EXPECT_STATUS(copy(target, user.domain, child_portal), Status::ok);
        for (unsigned i = 0; i < rounds % 64; ++i) asm volatile("pause");
        // On a busy machine the other core may never have its turn just then: now and then it is waited for.
        const std::uint64_t before = user.shared->words[0];
        for (const std::uint64_t limit = rdtsc() + 5000 * ms();
             rounds % 32 == 0 && user.shared->words[0] == before && rdtsc() < limit;) {
            if (wanted == "signal" || wanted == "wait") (void)signal(target, 1);
            asm volatile("pause");
        }
        EXPECT_STATUS(revoke(target), Status::ok);
    }
    say("{} rounds, {} good, {} refused\n", rounds, std::uint64_t{user.shared->words[0]},
        std::uint64_t{user.shared->words[1]});
}

// Core 0 makes what the user uses, and destroys it.
void race_with_objects(std::string_view kind, Child& user) {
    Given given{kind, user};
    volatile std::uint64_t* words = user.shared->words;
    words[8] = given.base();
    user.start();
    std::uint64_t rounds = 0;
    for (const std::uint64_t end = rdtsc() + duration; rdtsc() < end; ++rounds) {
        given.give(rounds);
        // As above; every second time, so that it is taken away from a core that is at it.
        const std::uint64_t before = words[good];
        for (const std::uint64_t limit = rdtsc() + 5000 * ms();
             rounds % 2 == 0 && words[good] == before && rdtsc() < limit;)
            asm volatile("pause");
        for (unsigned i = 0; i < rounds % 64; ++i) asm volatile("pause");
        given.take(rounds);
    }
    say("{} rounds, {} good, {} refused, {} neither\n", rounds, std::uint64_t{words[good]},
        std::uint64_t{words[refused]}, std::uint64_t{words[neither]});
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    const std::string_view wanted = find_option(node->info().command_line, "race").value_or("");
    duration = find_number(node->info().command_line, "race_ms").value_or(10'000) * ms();
    const Kind* kind = nullptr;
    for (const Kind& k : kinds)
        if (k.name == wanted) kind = &k;
    EXPECT(kind != nullptr);
    if (kind == nullptr) finish();
    Child user{*node};
    user.make(1, 20, kind->user);
    must(copy(user.domain, user.domain, child_event), "copy");
    if (kind->with_object) {
        race_with_objects(wanted, user);
    } else {
        race_with_copies(wanted, user);
    }
    EXPECT(user.shared->words[good] != 0);
    EXPECT(user.shared->words[refused] != 0);
    user.destroy();
    finish();
}

// Two cores map, unmap, create and revoke in estates of their own: instructions per call with and without the
// neighbour. Counted: the time-stamp counter goes by instructions.
#include <algorithm>

#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;

constexpr unsigned samples = 120;
enum Call : unsigned { mapped, unmapped, created, destroyed, calls };
constexpr const char* names[calls] = {"map", "unmap", "create", "revoke"};

// Slots of the worker: its Domain, memory for mappings, storage.
constexpr Slot own_domain = 4, own_memory = 5, own_storage = 6, own_event = 7;

struct Measured {
    volatile std::uint64_t rounds, failed;
    volatile std::uint32_t spent[calls][samples];
};
static_assert(sizeof(Measured) <= page_size);

[[gnu::section(".text.child_worker"), gnu::aligned(4096), gnu::flatten]] void worker(Shared* s) {
    auto& r = *reinterpret_cast<Measured*>(s);
    for (std::uint64_t n = 0;; ++n) {
        Status status = Status::ok;
        const auto measure = [&](Call which, auto call) {
            const std::uint64_t begin = rdtsc();
            const Status got = call();
            r.spent[which][n % samples] = static_cast<std::uint32_t>(rdtsc() - begin);
            if (got != Status::ok) status = got;
        };
        measure(mapped, [] { return map(own_memory, own_domain, 0x10'0000, 0, page_size, 3); });
        measure(unmapped, [] { return revoke(own_memory); });
        measure(created, [] { return create(ObjectType::event, own_event, own_storage); });
        measure(destroyed, [] { return revoke(own_storage); });
        if (status != Status::ok) r.failed = r.failed + 1;
        r.rounds = n + 1;
        asm volatile("pause");  // where the emulator, which counts, lets another core have its turn
    }
}

struct Worker {
    Child child{*node};

    explicit Worker(unsigned core) {
        child.make(core, 20, worker);
        must(copy(child.domain, child.domain, own_domain), "domain");
        for (const Slot to : {own_memory, own_storage}) {
            const Extent all = must(node->allocate(4 * page_size), "memory");
            const Slot own = node->new_slot();
            must(carve(own, all.slot, all.base, page_size, carve_flag::estate), "estate");
            must(copy(own, child.domain, to), "memory");
        }
    }
    Measured& result() {
        return *reinterpret_cast<Measured*>(const_cast<std::uint64_t*>(child.shared->words));
    }
    // Waits for that many more rounds.
    void work(std::uint64_t rounds) {
        const std::uint64_t end = result().rounds + rounds;
        const Slot never = must(node->create_event(), "event");
        while (result().rounds < end) (void)wait(never, rdtsc() + node->info().tsc_khz / 10);
    }
    std::uint32_t median(Call which) {
        std::uint32_t sorted[samples];
        for (unsigned i = 0; i < samples; ++i) sorted[i] = result().spent[which][i];
        std::nth_element(sorted, sorted + samples / 2, sorted + samples);
        return sorted[samples / 2];
    }
};

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    EXPECT(node->info().cores == 3);
    Worker one{1}, two{2};
    one.child.start();
    one.work(2 * samples);
    std::uint32_t alone[calls];
    for (unsigned i = 0; i < calls; ++i) alone[i] = one.median(static_cast<Call>(i));
    two.child.start();
    two.work(samples);
    one.work(2 * samples);
    for (unsigned i = 0; i < calls; ++i) {
        const std::uint32_t beside = one.median(static_cast<Call>(i));
        say("{}: {} alone, {} beside a neighbour\n", names[i], alone[i], beside);
        EXPECT(beside * 20 <= alone[i] * 21);
    }
    EXPECT(one.result().failed == 0 && two.result().failed == 0);
    finish();
}

// What it takes to give a PCI function to a client, with the memory that its DMA reaches, and to take it back: until nothing of
// it is under way any more. The function is `edu`; it does nothing meanwhile.
#include <algorithm>
#include <limits>

#include "libipc/start.hpp"
#include "tests/support.hpp"
#include "tests/system/programs/edu.hpp"

using namespace margay;

namespace {

constexpr unsigned rounds = 100;
constexpr std::uint64_t ram_bytes = 256 << 20, read_write = map_right::read_write;

struct Shortest {
    std::uint64_t ticks = std::numeric_limits<std::uint64_t>::max();
    void add(std::uint64_t begin) { ticks = std::min(ticks, rdtsc() - begin); }
    void say(const char* key) const {
        test::say("bench: {} {} instructions {}\n", key, ticks, rounds);
    }
};

}  // namespace

void program_main(std::uint64_t argument) {
    using test::must;
    static init::Node node{*reinterpret_cast<const BootInfo*>(argument)};
    test::use_largest_extent(node);
    test::Edu edu{node};
    if (!edu.find()) test::end(false);
    // As pmem aligns a guest's.
    constexpr std::uint64_t large_page = 2 << 20;
    const std::uint64_t before = must(node.allocate(page_size), "memory").base + page_size;
    if (const std::uint64_t rest = before % large_page; rest != 0)
        must(node.allocate(large_page - rest), "memory");
    const Extent ram = must(node.allocate(ram_bytes), "memory");
    const Slot event = must(node.create_event(), "event"), core = init_slot::first_core;

    Shortest device, map_ram, attach, message, revoke_ram, revoke_device;
    for (unsigned n = 0; n < rounds; ++n) {
        const Extent space_storage = must(node.allocate(64 * page_size), "memory"),
                     device_storage = must(node.allocate(storage_device), "memory"),
                     irq_storage = must(node.allocate(storage_small), "memory");
        const Slot d = node.new_slot(), space = node.new_slot(), irq = node.new_slot();
        must(create(ObjectType::dma_space, space, space_storage.slot, 64), "dma_space");

        std::uint64_t begin = rdtsc();
        must(create(ObjectType::device, d, device_storage.slot, init_slot::device_control,
                    edu.requester()),
             "device");
        device.add(begin);
        begin = rdtsc();
        must(map(ram.slot, space, 0, 0, ram_bytes, read_write), "mapping");
        map_ram.add(begin);
        begin = rdtsc();
        must(device_ctl(d, DeviceOp::attach, space), "attach");
        attach.add(begin);
        begin = rdtsc();
        must(create_message(irq, irq_storage.slot, d, 0, core), "message");
        must(irq_ctl(irq, IrqOp::bind, event, 1), "bind");
        message.add(begin);

        begin = rdtsc();
        must(revoke(ram.slot), "revoke");
        revoke_ram.add(begin);
        begin = rdtsc();
        must(revoke(d, revoke_flag::self), "revoke");
        revoke_device.add(begin);
        must(revoke(irq, revoke_flag::self), "revoke");
        must(revoke(space, revoke_flag::self), "revoke");
    }
    device.say("claim_cost_device");
    map_ram.say("claim_cost_ram_256_mib");
    attach.say("claim_cost_attach");
    message.say("claim_cost_message");
    Shortest{device.ticks + map_ram.ticks + attach.ticks + message.ticks}.say("claim_cost");
    revoke_ram.say("revoke_cost_ram_256_mib");
    revoke_device.say("revoke_cost");
    test::end(true);
}

// Devices and DMA spaces, with a device that does what it is told (edu.hpp): what nobody granted it, it neither reads,
// writes nor interrupts.
#include <cstring>
#include <initializer_list>

#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/edu.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;
Edu* edu;
Slot timer;

std::uint64_t ms() { return node->info().tsc_khz; }
bool is_vtd() { return node->info().iommu == 2; }
Slot fresh() { return node->new_slot(); }

// A page of RAM that this program sees.
struct Page {
    Extent extent = must(node->allocate(page_size), "memory");
    volatile std::uint8_t* bytes;

    explicit Page(std::uint8_t fill) {
        const std::uint64_t at = node->new_range(page_size);
        must(map(extent.slot, init_slot::domain, at, 0, page_size, map_right::read_write), "page");
        bytes = reinterpret_cast<volatile std::uint8_t*>(at);
        for (std::uint64_t i = 0; i < page_size; ++i) bytes[i] = fill;
    }
    bool is_all(std::uint8_t value, std::uint64_t count = page_size) const {
        for (std::uint64_t i = 0; i < count; ++i)
            if (bytes[i] != value) return false;
        return true;
    }
    std::uint64_t physical() const { return extent.base; }
};

// A device that never ends its copy fails by the test's time limit.
void await_copy() {
    while (edu->is_copying()) (void)wait(timer, rdtsc() + ms());
}
void fetch(std::uint64_t from) {
    edu->fetch(from, Edu::most);
    await_copy();
}
void store(std::uint64_t to) {
    edu->store(to, Edu::most);
    await_copy();
}

Status create_space(Slot to) {
    const Extent storage = must(node->allocate(64 * page_size), "memory");
    return create(ObjectType::dma_space, to, storage.slot, 64);
}
Status create_device(Slot to, std::uint64_t requester) {
    const Extent storage = must(node->allocate(storage_device), "memory");
    return create(ObjectType::device, to, storage.slot, init_slot::device_control, requester);
}

constexpr std::uint64_t in_at = 0x10'0000, read_only_at = 0x20'0000;
// At the end of what can be mapped: 46 bits, or 39 with tables of three levels.
std::uint64_t out_at = guest_end - 2 * page_size;
constexpr std::uint64_t read_write = map_right::read_write;

void test_refusals(Slot space) {
    const Page page{0};
    const Slot ram = page.extent.slot;
    EXPECT_STATUS(create_device(fresh(), 0x20000), Status::bad_argument);
    EXPECT_STATUS(create(ObjectType::device, fresh(), page.extent.slot, init_slot::irq_control, 0),
                  Status::in_use);
    const Extent storage = must(node->allocate(storage_device), "memory");
    EXPECT_STATUS(
        create(ObjectType::device, fresh(), storage.slot, init_slot::irq_control, edu->requester()),
        Status::wrong_type);
    const Extent small = must(node->allocate(page_size), "memory");
    EXPECT_STATUS(create(ObjectType::device, fresh(), small.slot, init_slot::device_control,
                         edu->requester()),
                  Status::no_memory);
    EXPECT_STATUS(create(ObjectType::dma_space, fresh(), small.slot, 1), Status::no_memory);
    EXPECT_STATUS(map(ram, space, 0x1001, 0, page_size, read_write), Status::bad_argument);
    EXPECT_STATUS(map(ram, space, guest_end, 0, page_size, read_write), Status::bad_argument);
    if (map(ram, space, out_at, 0, page_size, read_write) == Status::ok) {
        EXPECT_STATUS(revoke(ram), Status::ok);
    } else {
        constexpr std::uint64_t end = 1ull << 39;
        EXPECT(is_vtd());
        EXPECT_STATUS(map(ram, space, end, 0, page_size, read_write), Status::bad_argument);
        EXPECT_STATUS(map(ram, space, end - page_size, 0, 2 * page_size, read_write),
                      Status::bad_argument);
        out_at = end - 2 * page_size;
    }
    EXPECT_STATUS(map(ram, space, in_at, 0, page_size, map_right::write), Status::bad_argument);
    EXPECT_STATUS(map(ram, space, in_at, 0, page_size, 5), Status::bad_argument);
    EXPECT_STATUS(map(ram, space, 0xfeee'f000, 0, page_size, read_write), Status::bad_argument);
    EXPECT_STATUS(map(ram, space, 0xfee0'0000, 0, page_size, read_write), Status::bad_argument);
    EXPECT_STATUS(map(init_slot::ports, space, in_at, 0, page_size, read_write),
                  Status::bad_argument);
    const BootInfo& info = node->info();
    for (unsigned i = 0; i < info.extents; ++i)
        if (info.extent[i].use == ExtentUse::device)
            EXPECT_STATUS(map(info.extent[i].slot, space, in_at, 0, page_size, read_write),
                          Status::bad_argument);
}

// One unclaimed, or without a space: it copies nothing.
void test_blocked() {
    const Page source{0x11}, target{0x22};
    fetch(source.physical());
    store(target.physical());
    EXPECT(source.is_all(0x11));
    EXPECT(target.is_all(0x22));
}

void test_copies(Slot device, Slot space) {
    const Page source{0x33}, target{0x44}, read_only{0x55};
    EXPECT_STATUS(map(source.extent.slot, space, in_at, 0, page_size, map_right::read), Status::ok);
    EXPECT_STATUS(map(target.extent.slot, space, out_at, 0, page_size, read_write), Status::ok);
    EXPECT_STATUS(map(target.extent.slot, space, out_at, 0, page_size, read_write),
                  Status::occupied);
    EXPECT_STATUS(map(read_only.extent.slot, space, read_only_at, 0, page_size, map_right::read),
                  Status::ok);
    test_blocked();
    EXPECT_STATUS(device_ctl(device, DeviceOp::attach, init_slot::domain), Status::wrong_type);
    EXPECT_STATUS(device_ctl(device, DeviceOp::attach, space), Status::ok);
    EXPECT_STATUS(device_ctl(device, DeviceOp::attach, space), Status::in_use);
    fetch(in_at);
    store(out_at);
    EXPECT(target.is_all(0x33, Edu::most));
    EXPECT(target.bytes[Edu::most] == 0x44);
    // What is mapped for reading, what is not mapped, and physical addresses.
    store(read_only_at);
    EXPECT(read_only.is_all(0x55));
    test_blocked();
    store(out_at + page_size);

    // Memory is revoked while a copy is about to begin; and again, where the machine was too slow for that.
    const std::uint64_t there = node->new_range(page_size);
    auto* bytes = target.bytes;
    for (bool in_time = false; !in_time;) {
        for (std::uint64_t i = 0; i < page_size; ++i) bytes[i] = 0x66;
        edu->store(out_at, Edu::most);
        EXPECT_STATUS(revoke(target.extent.slot), Status::ok);
        in_time = edu->is_copying();
        EXPECT_STATUS(map(target.extent.slot, init_slot::domain, there, 0, page_size, read_write),
                      Status::ok);
        bytes = reinterpret_cast<volatile std::uint8_t*>(there);
        await_copy();
        if (!in_time)
            EXPECT_STATUS(map(target.extent.slot, space, out_at, 0, page_size, read_write),
                          Status::ok);
    }
    bool same = true;
    for (std::uint64_t i = 0; i < page_size; ++i) same = same && bytes[i] == 0x66;
    EXPECT(same);

    // It is detached, and attached again.
    EXPECT_STATUS(map(target.extent.slot, space, out_at, 0, page_size, read_write), Status::ok);
    EXPECT_STATUS(device_ctl(device, DeviceOp::detach), Status::ok);
    EXPECT_STATUS(device_ctl(device, DeviceOp::detach), Status::ok);
    store(out_at);
    EXPECT(bytes[0] == 0x66);
    EXPECT_STATUS(device_ctl(device, DeviceOp::attach, space), Status::ok);
    fetch(in_at);
    store(out_at);
    EXPECT(bytes[0] == 0x33);
}

// What is looked up is the data's index: vectors of the kernel, NMI, INIT, other indices; other addresses.
void forge_amd_vi(const MessageAddress& message) {
    for (const std::uint32_t data : {0xf0u, 0xf1u, 0x30u, 0x34u, 0xb0u, 0x400u, 0x4feu, 0x500u, 2u,
                                     4u, 0x1ffu, 0x7ffu, 0x8003u & 0xff7fu}) {
        if ((data & 0x7ff) == 3) continue;  // its own index
        edu->program_message(message.address, data);
        edu->send();
    }
    edu->program_message(0xfeef'f000, 0xf1);
    edu->send();
}

// What is looked up is the address's handle, and data that are added to it: its neighbours, lines of the I/O APIC, the ends of the
// table, what is beyond.
void forge_vtd(const MessageAddress& message) {
    constexpr std::uint64_t adds_data = 1 << 3, high_handle = 1 << 2;
    const std::uint64_t own = message.address >> 5 & 0x7fff, plain = message.address & ~0xfffe0ull;
    for (const std::uint64_t handle :
         std::initializer_list<std::uint64_t>{own - 1, own + 1, 0, 4, 0xfff, 0x7fff}) {
        edu->program_message(plain | handle << 5, 0xf1);
        edu->send();
    }
    for (const std::uint32_t data : {1u, 0xffffu - 0x1000u}) {
        edu->program_message(message.address | adds_data, data);
        edu->send();
    }
    edu->program_message(message.address | high_handle, 0);
    edu->send();
}

// A device can raise any vector on an emulator that lets messages of the old format pass, although nothing allows them, and NMIs:
// the node goes on, counts them, and takes what is meant. Vectors below 16 are refused by local APICs.
void test_any_vector(Slot event) {
    const auto counts = [] { return must(count_events(init_slot::first_core), "counts"); };
    const CoreEvents before = counts();
    constexpr std::uint64_t old_format = 0xfee0'0000;
    constexpr std::uint32_t nmi = 0x400;
    for (std::uint32_t vector = 16; vector < 256; ++vector) {
        edu->program_message(old_format, vector);
        edu->send();
        edu->send();
    }
    for (unsigned n = 0; n < 10; ++n) {
        edu->program_message(old_format, nmi);
        edu->send();
    }
    (void)wait(event, rdtsc() + ms());
    const CoreEvents after = counts();
    EXPECT(after.nmis > before.nmis);
    EXPECT(after.stray_interrupts > before.stray_interrupts + 90);
}

// From core to core, with a message just sent: it is taken by one of them. Ends on core 0.
void test_moves(Slot irq, Slot event) {
    const unsigned cores = node->info().cores;
    const auto core = [](unsigned n) { return init_slot::first_core + static_cast<Slot>(n); };
    const auto taken = [&](unsigned n) {
        return must(count_events(core(n)), "counts").device_messages;
    };
    std::uint64_t before[8] = {};
    if (cores < 3) return;
    EXPECT(cores <= 8);
    for (unsigned n = 0; n < cores; ++n) before[n] = taken(n);
    constexpr unsigned rounds = 300;
    unsigned came = 0;
    for (unsigned n = 1; n <= rounds; ++n) {
        edu->send();
        EXPECT_STATUS(move_message(irq, core(n % cores)), Status::ok);
        came += wait(event, rdtsc() + 1000 * ms()).status() == Status::ok ? 1 : 0;
    }
    EXPECT(came == rounds);
    say("{} of {} messages came while they were moved from core to core\n", came, rounds);
    // At rest it is that one's.
    for (unsigned n = 0; n < cores; ++n) {
        EXPECT(taken(n) > before[n]);
        EXPECT_STATUS(move_message(irq, core(n)), Status::ok);
        const std::uint64_t so_far = taken(n);
        edu->send();
        EXPECT_STATUS(wait(event, rdtsc() + 1000 * ms()).status(), Status::ok);
        EXPECT(taken(n) == so_far + 1);
    }
    EXPECT_STATUS(move_message(irq, init_slot::domain), Status::wrong_type);
    EXPECT_STATUS(move_message(irq, core(0)), Status::ok);
}

void test_messages(Slot device) {
    const Slot event = must(node->create_event(), "event"), irq = fresh(),
               core = init_slot::first_core;
    const Extent storage = must(node->allocate(page_size), "memory");
    EXPECT_STATUS(create_message(irq, storage.slot, device, device_messages, core),
                  Status::bad_argument);
    EXPECT_STATUS(create_message(irq, storage.slot, device, 3, core), Status::ok);
    const Extent other = must(node->allocate(page_size), "memory");
    EXPECT_STATUS(create_message(fresh(), other.slot, device, 3, core), Status::in_use);
    const MessageAddress message = must(query_message(irq), "message");
    if (!is_vtd()) EXPECT(message.data == 3);
    // Not bound yet: nothing comes, not even a stray.
    const auto strays = [] {
        return must(count_events(init_slot::first_core), "counts").stray_interrupts;
    };
    const std::uint64_t before = strays();
    const auto comes = [event] { return wait(event, rdtsc() + ms() * 2).status() == Status::ok; };
    edu->program_message(message.address, static_cast<std::uint32_t>(message.data));
    edu->send();
    EXPECT(!comes());
    EXPECT_STATUS(irq_ctl(irq, IrqOp::bind, event, 1), Status::ok);
    edu->send();
    EXPECT(comes());
    // Forged ones.
    const std::uint64_t nmis = must(count_events(init_slot::first_core), "counts").nmis;
    is_vtd() ? forge_vtd(message) : forge_amd_vi(message);
    EXPECT(!comes());
    EXPECT(strays() == before);
    EXPECT(must(count_events(init_slot::first_core), "counts").nmis == nmis);
    EXPECT_STATUS(irq_ctl(irq, IrqOp::unbind), Status::ok);
    edu->program_message(message.address, static_cast<std::uint32_t>(message.data));
    edu->send();
    EXPECT(!comes());
    EXPECT_STATUS(irq_ctl(irq, IrqOp::bind, event, 1), Status::ok);
    edu->send();
    EXPECT(comes());
    // What was taken back from a core's local APIC comes there as nobody's.
    const std::uint64_t so_far = strays();
    test_moves(irq, event);
    if (is_vtd()) {
        test_any_vector(event);
        edu->program_message(message.address, static_cast<std::uint32_t>(message.data));
        edu->send();
        EXPECT(comes());
    }
    const std::uint64_t forged = strays() - so_far;
    // Its Device goes: what is left of the Irq is nothing.
    EXPECT_STATUS(revoke(device, revoke_flag::self), Status::ok);
    edu->send();
    EXPECT(!comes());
    EXPECT_STATUS(irq_ctl(irq, IrqOp::bind, event, 1), Status::dead_partner);
    EXPECT_STATUS(revoke(irq, revoke_flag::self), Status::ok);
    EXPECT(strays() == before + forged);
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    static Edu the_edu{*node};
    edu = &the_edu;
    if (!edu->find()) die("the device", Status::not_found);
    timer = must(node->create_event(), "event");
    EXPECT(node->info().iommu == 1 || is_vtd());
    test_blocked();
    const Slot space = fresh(), device = fresh();
    EXPECT_STATUS(create_space(space), Status::ok);
    test_refusals(space);
    EXPECT_STATUS(create_device(device, edu->requester()), Status::ok);
    EXPECT_STATUS(create_device(fresh(), edu->requester()), Status::in_use);
    test_copies(device, space);
    test_messages(device);
    // The space is still there, the device is not: what was mapped is out of reach.
    test_blocked();
    // Another claim begins anew; its space goes before it does.
    const Slot again = fresh();
    EXPECT_STATUS(create_device(again, edu->requester()), Status::ok);
    EXPECT_STATUS(device_ctl(again, DeviceOp::attach, space), Status::ok);
    EXPECT_STATUS(revoke(space, revoke_flag::self), Status::ok);
    const Page target{0x77};
    store(out_at);
    test_blocked();
    EXPECT_STATUS(create_space(space), Status::ok);
    EXPECT_STATUS(map(target.extent.slot, space, out_at, 0, page_size, read_write), Status::ok);
    EXPECT_STATUS(device_ctl(again, DeviceOp::attach, space), Status::ok);
    store(out_at);
    EXPECT(!target.is_all(0x77));
    EXPECT_STATUS(revoke(again, revoke_flag::self), Status::ok);
    finish();
}

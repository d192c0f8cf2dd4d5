// Kernel interrupts on a core whose only work is a guest that spins for ten virtual seconds.
#include <cstring>

#include "libipc/start.hpp"
#include "proto/vcpu_state.hpp"
#include "tests/support.hpp"

using namespace margay;

namespace {

// Real mode at guest-physical 0: mov ecx, rounds; { 64 times nop; dec ecx; jnz }; hlt.
constexpr unsigned nops = 64;
constexpr std::uint64_t instructions = 10'000'000'000;
constexpr auto rounds = static_cast<std::uint32_t>(instructions / (nops + 2) + 1);

void write_guest(std::uint8_t* code) {
    *code++ = 0x66;
    *code++ = 0xb9;
    std::memcpy(code, &rounds, sizeof(rounds));
    code += sizeof(rounds);
    std::memset(code, 0x90, nops);
    code += nops;
    const std::uint8_t end[] = {0x66, 0x49, 0x75, static_cast<std::uint8_t>(-(int(nops) + 4)),
                                0xf4};
    std::memcpy(code, end, sizeof(end));
}

void write_start(VcpuState& s) {
    std::memset(static_cast<void*>(&s), 0, offsetof(VcpuState, records));
    const SegmentState data{0, 0x93, 0xffff, 0};
    s.es = s.ss = s.ds = s.fs = s.gs = data;
    s.cs = {0, 0x9b, 0xffff, 0};
    s.tr = {0, 0x8b, 0xffff, 0};
    s.ldtr = {0, 0x82, 0xffff, 0};
    s.gdtr.limit = s.idtr.limit = 0xffff;
    s.cr0 = 0x10;
    s.rflags = 2;
    s.dr6 = 0xffff0ff0;
    s.dr7 = 0x400;
    s.pat = 0x0007040600070406;
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node node{*reinterpret_cast<const BootInfo*>(argument)};
    test::use_largest_extent(node);
    const Extent ram = test::must(node.allocate(2 << 20, 2 << 20), "guest memory");
    constexpr std::uint64_t rw = map_right::read_write;
    write_guest(
        reinterpret_cast<std::uint8_t*>(test::must(node.map_here(ram, rw), "guest memory")));
    const Extent space_storage = test::must(node.allocate(1 << 20), "space");
    const Slot space = node.new_slot(), vcpu = node.new_slot(), portal = node.new_slot();
    test::must(create(ObjectType::space, space, space_storage.slot, 16), "space");
    test::must(map(ram.slot, space, 0, 0, ram.size, rw | map_right::execute), "space");
    const Extent page = test::must(node.allocate(page_size), "state page");
    auto& state = *reinterpret_cast<VcpuState*>(test::must(node.map_here(page, rw), "state page"));
    const Extent vcpu_storage = test::must(node.allocate(storage_vcpu), "vCPU");
    test::must(create_vcpu(vcpu, vcpu_storage.slot, space, init_slot::first_core, 16, page.slot),
               "vCPU");
    const Extent portal_storage = test::must(node.allocate(storage_small), "portal");
    test::must(create_portal(portal, portal_storage.slot, init_slot::thread, init_slot::first_core),
               "portal");
    for (unsigned c = 0; c < exit_classes; ++c)
        test::must(bind_row(vcpu, static_cast<ExitClass>(c), portal, 0), "row");
    test::must(vcpu_ctl(vcpu, VcpuOp::start), "start");

    Received r = reply_wait({});
    if ((r.message.label & 0xff) != static_cast<std::uint64_t>(ExitClass::startup))
        test::end(false);
    write_start(state);
    const std::uint64_t interrupts =
        test::must(count_interrupts(init_slot::first_core), "interrupts");
    const std::uint64_t begin = rdtsc();
    r = reply_wait({static_cast<std::uint64_t>(Action::resume),
                    {r.message.words[0], state::all & ~state::instruction}});
    const std::uint64_t seconds = (rdtsc() - begin) / 1'000'000'000;
    const std::uint64_t after = test::must(count_interrupts(init_slot::first_core), "interrupts");
    const bool halted = (r.message.label & 0xff) == static_cast<std::uint64_t>(ExitClass::halt);
    if (!halted || seconds < 10) {
        test::say("the guest spun for {} s and ended with exit class {}\n", seconds,
                  r.message.label & 0xff);
        test::end(false);
    }
    test::say("bench: busy_core_interrupts {} interrupts 1\n", after - interrupts);
    test::end(true);
}

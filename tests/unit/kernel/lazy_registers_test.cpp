// Registers that are switched when another guest runs: whose they are, and what of the state page reaches them.
#include "ukernel/arch/x86_64/lazy_registers.hpp"

#include <cstring>

#include "one_guest.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay {
namespace {

struct Part {
    unsigned bit;
    std::uint32_t size, offset;
};

struct Leaf {
    std::uint32_t eax, ebx;
};

XsaveLayout layout(std::uint32_t offered, std::initializer_list<Part> parts) {
    return XsaveLayout::detect([&](unsigned subleaf) {
        if (subleaf == 0) return Leaf{offered, 0};
        for (const Part& p : parts)
            if (p.bit == subleaf) return Leaf{p.size, p.offset};
        return Leaf{0, 0};
    });
}

// Processors of two makers: the same parts in different places.
const XsaveLayout zen4 =
    layout(0x2e7, {{2, 256, 576}, {5, 64, 832}, {6, 512, 896}, {7, 1024, 1408}, {9, 8, 2432}});
const XsaveLayout skylake = layout(0x2ff, {{2, 256, 576},
                                           {3, 64, 960},
                                           {4, 64, 1024},
                                           {5, 64, 1088},
                                           {6, 512, 1152},
                                           {7, 1024, 1664},
                                           {9, 8, 2688}});
const XsaveLayout avx = layout(7, {{2, 256, 576}});

TEST(XsaveLayout, TakesThePartsThatItKnows) {
    EXPECT_EQ(zen4.supported, 0x2e7u);
    EXPECT_EQ(skylake.supported, 0x2e7u) << "bounds registers are left out";
    EXPECT_EQ(skylake.offset[9], 2688);
    EXPECT_EQ(avx.supported, 7u);
    EXPECT_EQ(layout(3, {}).supported, 3u);
    EXPECT_EQ(layout(1, {}).supported, 0u) << "x87 alone is no machine that we know";
    EXPECT_EQ(layout(0, {}).supported, 0u);
}

TEST(XsaveLayout, LeavesOutWhatDoesNotFit) {
    EXPECT_EQ(layout(7, {{2, 512, 576}}).supported, 3u) << "another size";
    EXPECT_EQ(layout(7, {{2, 256, 500}}).supported, 3u) << "in the header";
    EXPECT_EQ(layout(7, {{2, 256, 2600}}).supported, 3u) << "beyond the area";
    EXPECT_EQ(layout(7, {}).supported, 3u) << "nowhere";
    EXPECT_EQ(layout(0xe7, {{2, 256, 576}, {5, 64, 832}, {6, 512, 896}}).supported, 7u)
        << "half of AVX-512";
    EXPECT_EQ(layout(0xe3, {{5, 64, 832}, {6, 512, 896}, {7, 1024, 1408}}).supported, 3u)
        << "without AVX";
}

TEST(Xcr0, HasTheManualsRules) {
    const std::uint64_t all = 0x2e7;
    for (const std::uint64_t good : {1u, 3u, 7u, 0xe7u, 0x2e7u, 0x201u, 0x203u})
        EXPECT_TRUE(xcr0::is_valid(good, all)) << good;
    for (const std::uint64_t bad : {0u, 2u, 5u, 6u, 0x27u, 0x67u, 0xe3u, 0xc7u, 0x11u, 0x407u})
        EXPECT_FALSE(xcr0::is_valid(bad, all)) << bad;
    EXPECT_FALSE(xcr0::is_valid(7, 3));
    EXPECT_FALSE(xcr0::is_valid(1ull << 63 | 7, all));
}

class Lazy : public OneGuest {
  protected:
    void SetUp() override {
        OneGuest::SetUp();
        s.carve(42, page_size);
        s.make(ObjectType::vcpu, 43, storage_vcpu, {30, pair(first::core0, 10), 42});
        w = &s.object<Vcpu>(43);
    }
    // As a guest that uses all it may would leave them.
    static void use(std::uint8_t with, std::uint64_t xcr0) {
        std::memset(machine::now.fpu, with, sizeof(machine::now.fpu));
        machine::now.fpu[26] = machine::now.fpu[27] = 0;
        std::memset(machine::now.vector, with, sizeof(machine::now.vector));
        machine::now.xcr0 = xcr0;
        for (std::uint64_t& d : machine::now.dr) d = with;
        machine::now.msr[cpu::msr::tsc_aux] = with;
    }
    static void expect_used(std::uint8_t with, std::uint64_t xcr0) {
        EXPECT_EQ(machine::now.fpu[100], with);
        EXPECT_EQ(machine::now.vector[0], with);
        EXPECT_EQ(machine::now.vector[255], with);
        EXPECT_EQ(machine::now.xcr0, xcr0);
        for (const std::uint64_t d : machine::now.dr) EXPECT_EQ(d, with);
        EXPECT_EQ(machine::now.msr[cpu::msr::tsc_aux], with);
    }
    void start_with(const XsaveLayout& l) {
        machine::now.xsave = l;
        machine::now.xcr0 = 1;
        machine::now.tsc_aux = true;
        lazy_registers::forget(*v);
        lazy_registers::init(v->lazy);
        lazy_registers::load(*v->core, *v);
    }

    Vcpu* w;
};

TEST_F(Lazy, EachGuestHasItsOwn) {
    start_with(avx);
    use(0x11, 7);
    lazy_registers::load(*w->core, *w);
    EXPECT_EQ(machine::now.xcr0, 1u) << "as after a reset";
    EXPECT_EQ(machine::now.fpu[0], 0x7f);
    EXPECT_EQ(machine::now.vector[0], 0) << "nothing of the other guest's";
    EXPECT_EQ(machine::now.dr[3], 0u);
    EXPECT_EQ(machine::now.msr[cpu::msr::tsc_aux], 0u);
    use(0x22, 3);
    lazy_registers::load(*v->core, *v);
    expect_used(0x11, 7);
    lazy_registers::load(*w->core, *w);
    expect_used(0x22, 3);
}

// What a guest has switched off keeps its value, and nobody else's takes its place.
TEST_F(Lazy, PartsThatAreOffAreKept) {
    start_with(zen4);
    use(0x11, 0x2e7);
    machine::now.xcr0 = 1;
    lazy_registers::load(*w->core, *w);
    use(0x22, 0x2e7);
    lazy_registers::load(*v->core, *v);
    expect_used(0x11, 1);
}

TEST_F(Lazy, ThePageDoesNotDependOnTheProcessor) {
    start_with(zen4);
    use(0x33, 0x2e7);
    lazy_registers::store_state(*v, state::lazy);
    expect_used(0x33, 0x2e7);
    VcpuState& p = *v->page;
    EXPECT_EQ(p.ymm_high[255], 0x33);
    EXPECT_EQ(p.opmask[0], 0x33);
    EXPECT_EQ(p.zmm_high[511], 0x33);
    EXPECT_EQ(p.zmm_upper[1023], 0x33);
    EXPECT_EQ(p.pkru[3], 0x33);
    EXPECT_EQ(p.xcr0, 0x2e7u);
    EXPECT_EQ(p.dr[2], 0x33u);
    EXPECT_EQ(p.tsc_aux, 0x33u);
    // On another node.
    start_with(skylake);
    EXPECT_EQ(lazy_registers::load_state(*v, state::lazy), Status::ok);
    lazy_registers::load(*v->core, *v);
    EXPECT_EQ(machine::now.vector[skylake.offset[7] - 576 + 1023], 0x33);
    EXPECT_EQ(machine::now.vector[skylake.offset[9] - 576], 0x33);
    EXPECT_EQ(machine::now.xcr0, 0x2e7u);
    // One that lacks parts.
    start_with(avx);
    EXPECT_EQ(lazy_registers::load_state(*v, state::lazy), Status::bad_argument)
        << "its XCR0 is not possible";
    p.xcr0 = 7;
    EXPECT_EQ(lazy_registers::load_state(*v, state::lazy), Status::ok);
    lazy_registers::store_state(*v, state::lazy);
    EXPECT_EQ(p.ymm_high[0], 0x33);
    EXPECT_EQ(p.opmask[0], 0) << "what the processor lacks is 0";
    EXPECT_EQ(p.pkru[0], 0);
}

TEST_F(Lazy, ARefusedXcr0ChangesNothing) {
    start_with(avx);
    use(0x44, 7);
    VcpuState& p = *v->page;
    lazy_registers::store_state(*v, state::lazy);
    for (const std::uint64_t bad : {0ull, 2ull, 5ull, 0xe7ull, 1ull << 63 | 1}) {
        p.xcr0 = bad;
        p.dr[0] = 0x99;
        EXPECT_EQ(lazy_registers::load_state(*v, state::lazy), Status::bad_argument) << bad;
    }
    expect_used(0x44, 7);
    lazy_registers::load(*w->core, *w);
    lazy_registers::load(*v->core, *v);
    expect_used(0x44, 7);
}

// The fakes panic where the processor would fault.
TEST_F(Lazy, NoPageMakesTheProcessorFault) {
    start_with(skylake);
    std::memset(v->page->fpu, 0xff, sizeof(v->page->fpu));
    std::memset(v->page->ymm_high, 0xff, sizeof(v->page->ymm_high));
    std::memset(v->page->pkru, 0xff, sizeof(v->page->pkru));
    EXPECT_EQ(lazy_registers::load_state(*v, state::fpu), Status::ok);
    lazy_registers::load(*v->core, *v);
    EXPECT_EQ(machine::now.fpu[26], 0);
    EXPECT_EQ(machine::now.fpu[511], 0xff);
    v->page->tsc_aux = ~0ull;
    EXPECT_EQ(lazy_registers::load_state(*v, state::tsc_aux), Status::ok);
    lazy_registers::load(*v->core, *v);
    EXPECT_EQ(machine::now.msr[cpu::msr::tsc_aux], 0xffff'ffffu);
}

TEST_F(Lazy, OneGroupLeavesTheOthers) {
    start_with(avx);
    use(0x55, 7);
    lazy_registers::store_state(*v, state::lazy);
    v->page->xcr0 = 3;
    v->page->dr[0] = 1;
    v->page->fpu[100] = 1;
    EXPECT_EQ(lazy_registers::load_state(*v, state::xcr0), Status::ok);
    lazy_registers::load(*v->core, *v);
    expect_used(0x55, 3);
}

TEST_F(Lazy, AProcessorWithoutXsaveHasTheOldImage) {
    start_with({});
    use(0x66, 1);
    lazy_registers::load(*w->core, *w);
    EXPECT_EQ(machine::now.fpu[0], 0x7f);
    lazy_registers::load(*v->core, *v);
    EXPECT_EQ(machine::now.fpu[100], 0x66);
    lazy_registers::store_state(*v, state::lazy);
    EXPECT_EQ(v->page->xcr0, 1u);
    EXPECT_EQ(v->page->fpu[100], 0x66);
    EXPECT_EQ(v->page->ymm_high[0], 0);
    v->page->xcr0 = 3;
    EXPECT_EQ(lazy_registers::load_state(*v, state::xcr0), Status::bad_argument);
}

}  // namespace
}  // namespace margay

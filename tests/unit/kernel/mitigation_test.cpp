#include "ukernel/arch/x86_64/mitigation.hpp"

#include "one_guest.hpp"
#include "ukernel/arch/x86_64/patch.hpp"

namespace margay {
namespace {

constexpr std::uint32_t ibpb8 = 1 << 12, stibp8 = 1 << 15, always8 = 1 << 16;
constexpr std::uint32_t ibrs7 = 1 << 26, stibp7 = 1 << 27, md_clear7 = 1 << 10;
constexpr std::uint64_t ibrs_all = 1 << 1, mds_no = 1 << 5;

bool operator==(const Mitigations& a, const Mitigations& b) {
    return a.ibpb == b.ibpb && a.auto_ibrs == b.auto_ibrs && a.ibrs == b.ibrs &&
           a.stibp == b.stibp && a.retpolines == b.retpolines && a.fill_rsb == b.fill_rsb &&
           a.verw == b.verw;
}

TEST(Mitigations, ByProcessor) {
    const struct {
        const char* name;
        SpeculationCpuid cpuid;
        Mitigations wanted;
    } cases[] = {
        {"says nothing (emulators)", {true, 0, 0, 0, 0}, {}},
        {"Zen 1", {true, 0, ibpb8, 0, 0}, {true, false, false, false, true, true, false}},
        {"Zen 2", {true, 0, ibpb8 | stibp8, 0, 0}, {true, false, false, true, true, true, false}},
        {"Zen 3",
         {true, 0, ibpb8 | stibp8 | always8, 0, 0},
         {true, false, true, true, false, true, false}},
        {"Zen 4",
         {true, 0, ibpb8 | stibp8 | always8, 1 << 8, 0},
         {true, true, false, true, false, false, false}},
        {"Broadwell",
         {false, ibrs7 | stibp7 | md_clear7, 0, 0, 0},
         {true, false, false, true, true, true, true}},
        {"Cascade Lake",
         {false, ibrs7 | stibp7 | md_clear7, 0, 0, ibrs_all | mds_no},
         {true, false, true, true, false, true, false}},
    };
    for (const auto& c : cases) EXPECT_TRUE(choose_mitigations(c.cpuid, "") == c.wanted) << c.name;
}

TEST(Mitigations, EachHasItsOption) {
    const SpeculationCpuid zen3{true, 0, ibpb8 | stibp8 | always8, 0, 0};
    const SpeculationCpuid nothing{};
    EXPECT_TRUE(choose_mitigations(zen3, "log=0x2f8 mitigations=off") == Mitigations{});
    EXPECT_TRUE(choose_mitigations(nothing, "mitigations=on") ==
                (Mitigations{true, true, true, true, true, true, true}));
    const struct {
        const char* name;
        bool Mitigations::*measure;
    } options[] = {{"ibpb", &Mitigations::ibpb},
                   {"auto_ibrs", &Mitigations::auto_ibrs},
                   {"ibrs", &Mitigations::ibrs},
                   {"stibp", &Mitigations::stibp},
                   {"retpolines", &Mitigations::retpolines},
                   {"rsb", &Mitigations::fill_rsb},
                   {"verw", &Mitigations::verw}};
    for (const auto& o : options) {
        EXPECT_TRUE(choose_mitigations(nothing, std::string{o.name} + "=on").*o.measure) << o.name;
        const std::string off = std::string{o.name} + "=off";
        EXPECT_FALSE(choose_mitigations(zen3, off).*o.measure) << o.name;
        EXPECT_FALSE(choose_mitigations(nothing, "mitigations=on " + off).*o.measure) << o.name;
    }
    EXPECT_TRUE(choose_mitigations(zen3, "ibrs=off").retpolines) << "the other means";
    EXPECT_TRUE(choose_mitigations(nothing, "mitigations=perhaps ibpb") == Mitigations{});
}

TEST(Patch, Bytes) {
    alignas(64) std::uint8_t code[64];
    std::memset(code, 0xcc, sizeof(code));
    patch::branch(code + 8, 0xe9, code + 48, 7);
    EXPECT_EQ(code[8], 0xe9);
    EXPECT_EQ(code[9], 48 - 13);
    EXPECT_EQ(code[10] | code[11] | code[12], 0);
    EXPECT_EQ(code[13], 0x90);
    EXPECT_EQ(code[14], 0x90);
    EXPECT_EQ(code[15], 0xcc);
    patch::branch(code + 32, 0xe8, code, 5);
    EXPECT_EQ(code[32], 0xe8);
    EXPECT_EQ(code[33], static_cast<std::uint8_t>(-37));
    EXPECT_EQ(code[36], 0xff);
    EXPECT_EQ(code[37], 0xcc);
    patch::indirect_jump(code + 40, 0);
    EXPECT_EQ(code[40], 0xff);
    EXPECT_EQ(code[41], 0xe0);
    EXPECT_EQ(code[42], 0xcc);
    patch::indirect_jump(code + 40, 14);
    EXPECT_EQ(code[40], 0x41);
    EXPECT_EQ(code[41], 0xff);
    EXPECT_EQ(code[42], 0xe6);
}

class Barriers : public OneGuest {
  protected:
    // Another guest beside it, with the same handler, of the same priority.
    Vcpu& second() {
        s.make(ObjectType::space, 40, 20 * page_size, {8});
        s.carve(42, page_size);
        s.make(ObjectType::vcpu, 43, storage_vcpu, {40, pair(first::core0, 10), 42});
        for (unsigned c = 0; c < exit_classes; ++c)
            EXPECT_EQ(s.call(Syscall::vcpu_ctl, {43, 0, c, 22, 0}), Status::ok);
        return s.object<Vcpu>(43);
    }
    unsigned barriers() {
        const unsigned n = machine::now.branch_barriers;
        machine::now.branch_barriers = 0;
        return n;
    }
};

TEST_F(Barriers, NoneBetweenAGuestAndItsVmm) {
    machine::now.mitigations.ibpb = true;
    for (unsigned n = 0; n < 3; ++n) {
        ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
        ASSERT_EQ(reply(Action::advance), v);
    }
    EXPECT_EQ(barriers(), 0u);
}

TEST_F(Barriers, BetweenGuestsAndBetweenDomains) {
    machine::now.mitigations.ibpb = true;
    Vcpu& w = second();
    Core& core = machine::core(0);
    // The scheduler goes from one guest to the other, and goes on with the same one.
    ASSERT_EQ(System::leave(), v);
    barriers();
    ASSERT_EQ(System::leave(), v);
    EXPECT_EQ(barriers(), 0u);
    w.state = ContextState::ready;
    core.current = &w;
    ASSERT_EQ(System::leave(), &w);
    EXPECT_EQ(barriers(), 1u);
    core.current = v;
    ASSERT_EQ(System::leave(), v);
    EXPECT_EQ(barriers(), 1u);
    // Other tables: another Domain. The guest after it is led by nothing of it either.
    core.cr3 = 0x7000;
    ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
    EXPECT_EQ(barriers(), 1u);
    EXPECT_EQ(core.last_guest, nullptr);
}

TEST_F(Barriers, NoneWhereTheProcessorNeedsNone) {
    Core& core = machine::core(0);
    ASSERT_EQ(System::leave(), v);
    core.cr3 = 0x7000;
    ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
    EXPECT_EQ(barriers(), 0u);
    EXPECT_EQ(core.last_guest, nullptr);
}

TEST_F(Barriers, ADestroyedGuestIsForgotten) {
    machine::now.mitigations.ibpb = true;
    ASSERT_EQ(System::leave(), v);
    EXPECT_EQ(machine::core(0).last_guest, v);
    ASSERT_EQ(s.call(Syscall::revoke, {34, 0}), Status::ok);
    EXPECT_EQ(machine::core(0).last_guest, nullptr) << "its place may be another's";
}

}  // namespace
}  // namespace margay

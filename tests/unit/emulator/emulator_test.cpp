// What the processor that runs the tests cannot be asked about: faults, modes, restarts, caches.
#include "tests/unit/emulator/machine.hpp"

#include <gmock/gmock.h>

#include <string_view>

namespace margay::vmm::test {
namespace {

constexpr std::uint64_t code = 0x40'0000;
constexpr std::uint64_t code_gpa = 0x1000;
constexpr std::uint64_t device = 0x50'0000;
constexpr std::uint64_t data = 0x60'0000;
constexpr std::uint64_t data_gpa = 0x4000;

class EmulatorTest : public testing::Test {
  protected:
    EmulatorTest() {
        machine.map(code, code_gpa);
        machine.map(device, device_base);
        machine.map(device + 0x1000, device_base + 0x1000);
        machine.map(data, data_gpa);
        s.rip = code;
    }
    void instruction(std::initializer_list<unsigned> bytes) {
        machine.ram.put_bytes(code_gpa + (s.rip & 0xfff), bytes);
    }
    EmulationResult mmio(std::uint64_t gpa, std::uint64_t access = 0) {
        return machine.emulator.mmio(s, gpa, access);
    }

    using Access = Device::Access;
    Machine machine;
    VcpuState& s = machine.state;
    std::vector<Access>& log = machine.device.log;
};

TEST_F(EmulatorTest, DeviceSeesOneAccessOfTheRightWidth) {
    s.gpr[gpr_rax] = device + 0xb0;
    s.gpr[gpr_rcx] = 0x1122'3344'5566'7788;
    instruction({0x89, 0x08});  // mov [rax], ecx
    auto result = mmio(device_base + 0xb0, mmio_access::write);
    EXPECT_EQ(result.outcome, Emulation::done);
    EXPECT_EQ(result.dirty, state::rip);
    EXPECT_EQ(s.rip, code + 2);
    EXPECT_THAT(log, testing::ElementsAre(Access{true, device_base + 0xb0, 4, 0x5566'7788}));
    log.clear();
    instruction({0x48, 0x81, 0x08, 0, 0, 0, 0x80});  // or qword [rax], -2^31
    result = mmio(device_base + 0xb0, mmio_access::write);
    EXPECT_EQ(result.outcome, Emulation::done);
    EXPECT_EQ(result.dirty, state::rip | state::rflags);
    EXPECT_THAT(log,
                testing::ElementsAre(Access{false, device_base + 0xb0, 8, 0x5566'7788},
                                     Access{true, device_base + 0xb0, 8, 0xffff'ffff'd566'7788}));
}

TEST_F(EmulatorTest, AccessAcrossPagesIsSplit) {
    s.gpr[gpr_rax] = device + 0xffd;
    s.gpr[gpr_rcx] = 0x4433'2211;
    instruction({0x89, 0x08});
    EXPECT_EQ(mmio(device_base + 0xffd).outcome, Emulation::done);
    EXPECT_THAT(log, testing::ElementsAre(Access{true, device_base + 0xffd, 1, 0x11},
                                          Access{true, device_base + 0xffe, 2, 0x3322},
                                          Access{true, device_base + 0x1000, 1, 0x44}));
}

TEST_F(EmulatorTest, AddressThatDisagreesIsTriedAgainAndThenReported) {
    s.gpr[gpr_rax] = device;
    instruction({0x89, 0x08});
    for (int i = 0; i < 16; ++i) {
        const auto result = mmio(device_base + 0x100);
        ASSERT_EQ(result.outcome, Emulation::retry);
        ASSERT_EQ(result.dirty, 0U);
    }
    const auto result = mmio(device_base + 0x100);
    EXPECT_EQ(result.outcome, Emulation::unhandled);
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(s.rip, code);
    // A good one in between starts the count again.
    EXPECT_EQ(mmio(device_base + 0x100).outcome, Emulation::retry);
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
}

TEST_F(EmulatorTest, WhatIsNotEmulatedComesWithItsBytes) {
    instruction({0x0f, 0x11, 0x00, 0xaa});  // movups [rax], xmm0
    const auto result = mmio(device_base);
    ASSERT_EQ(result.outcome, Emulation::not_emulated);
    EXPECT_NE(result.reason, nullptr);
    ASSERT_EQ(result.code_length, 15);
    EXPECT_EQ(result.code[0], std::byte{0x0f});
    EXPECT_EQ(result.code[3], std::byte{0xaa});
    EXPECT_EQ(s.rip, code);
    EXPECT_EQ(result.dirty, 0U);
}

TEST_F(EmulatorTest, FarTransfersAndSegmentLoadsAreNotEmulated) {
    instruction({0xff, 0x28});  // jmp far [rax]
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    instruction({0xff, 0x18});  // call far [rax]
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    instruction({0x0f, 0xb2, 0x00});  // lss eax, [rax]
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    instruction({0x8e, 0x18});  // mov ds, [rax]
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    instruction({0x0f, 0x01, 0x10});  // lgdt [rax]
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    EXPECT_TRUE(log.empty());
}

TEST_F(EmulatorTest, MachineStatusAndSelectorsAreStored) {
    s.gpr[gpr_rax] = device;
    s.cr0 = 0x8005'0033;
    s.gs.selector = 0x2b;
    instruction({0x0f, 0x01, 0x20});  // smsw [rax]
    EXPECT_EQ(mmio(device_base, mmio_access::write).outcome, Emulation::done);
    EXPECT_EQ(s.rip, code + 3);
    s.rip = code;
    instruction({0x8c, 0x28});  // mov [rax], gs
    EXPECT_EQ(mmio(device_base, mmio_access::write).outcome, Emulation::done);
    EXPECT_EQ(s.rip, code + 2);
    EXPECT_THAT(log, testing::ElementsAre(Access{true, device_base, 2, 0x33},
                                          Access{true, device_base, 2, 0x2b}));
}

TEST_F(EmulatorTest, NoInstructionAndNoCode) {
    instruction({0x06});  // no such instruction in 64-bit mode
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    s.rip = device;
    EXPECT_EQ(mmio(device_base).outcome, Emulation::not_emulated);
    EXPECT_EQ(mmio(device_base, mmio_access::fetch).outcome, Emulation::not_emulated);
    EXPECT_EQ(mmio(device_base, mmio_access::page_walk).outcome, Emulation::unhandled);
    EXPECT_TRUE(log.empty());
}

TEST_F(EmulatorTest, InstructionAcrossPages) {
    machine.map(code + 0x1000, code_gpa + 0x2000);  // not the next guest-physical page
    s.rip = code + 0xffd;
    machine.ram.put_bytes(code_gpa + 0xffd, {0xc7, 0x80, 0x10});
    machine.ram.put_bytes(code_gpa + 0x2000, {0, 0, 0, 0x44, 0x33, 0x22, 0x11});
    s.gpr[gpr_rax] = device;
    for (int i = 0; i < 2; ++i) {
        log.clear();
        s.rip = code + 0xffd;
        EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
        EXPECT_EQ(s.rip, code + 0x1007);
        EXPECT_THAT(log, testing::ElementsAre(Access{true, device_base + 0x10, 4, 0x1122'3344}));
    }
    // The second half changes.
    machine.ram.put_bytes(code_gpa + 0x2003, {0x99});
    s.rip = code + 0xffd;
    EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
    EXPECT_EQ(log.back().value, 0x1122'3399U);
    // The second half goes away.
    machine.map(code + 0x1000, 0, 0);
    s.rip = code + 0xffd;
    const auto result = mmio(device_base + 0x10);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(result.vector, 14);
    EXPECT_EQ(result.error_code, page_fault::fetch);
    EXPECT_EQ(s.cr2, code + 0x1000);
    EXPECT_EQ(s.event, 0x80000b0eU | std::uint64_t{page_fault::fetch} << 32);
}

TEST_F(EmulatorTest, ShortInstructionAtTheEndOfAPage) {
    s.rip = code + 0xffe;  // nothing is mapped behind
    machine.ram.put_bytes(code_gpa + 0xffe, {0x89, 0x08});
    s.gpr[gpr_rax] = device;
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    EXPECT_EQ(s.rip, code + 0x1000);
}

TEST_F(EmulatorTest, ChangedCodeAtTheSameAddress) {
    s.gpr[gpr_rax] = device;
    s.gpr[gpr_rcx] = 0x55;
    instruction({0x89, 0x08});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    s.rip = code;
    instruction({0x88, 0x48, 0x04});  // mov [rax + 4], cl
    EXPECT_EQ(mmio(device_base + 4).outcome, Emulation::done);
    EXPECT_EQ(s.rip, code + 3);
    EXPECT_EQ(log.back(), (Access{true, device_base + 4, 1, 0x55}));
    // The same bytes in 32-bit code: 0x48 is an instruction of its own there.
    s.rip = code;
    instruction({0x48, 0x89, 0x08});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    s.rip = code;
    machine.code_segment(0xc9b);
    EXPECT_NE(mmio(device_base).outcome, Emulation::done);
}

TEST_F(EmulatorTest, ChangedLastByteOfALongInstruction) {
    s.gpr[gpr_rax] = device;
    instruction(
        {0x48, 0xc7, 0x80, 0x10, 0, 0, 0, 0x11, 0x22, 0x33, 0x44});  // mov [rax + 16], imm32
    EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
    EXPECT_EQ(log.back().value, 0x4433'2211U);
    s.rip = code;
    instruction({0x48, 0xc7, 0x80, 0x10, 0, 0, 0, 0x11, 0x22, 0x33, 0x55});
    EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
    EXPECT_EQ(log.back().value, 0x5533'2211U);
}

TEST_F(EmulatorTest, SameAddressInAnotherAddressSpace) {
    s.gpr[gpr_rax] = device;
    instruction({0x89, 0x08});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    s.cr3 = machine.table();
    machine.map(code, code_gpa + 0x1000);
    machine.map(device, device_base + 0x1000);
    s.rip = code;
    machine.ram.put_bytes(code_gpa + 0x1000, {0x8a, 0x00});  // mov al, [rax]
    EXPECT_EQ(mmio(device_base + 0x1000).outcome, Emulation::done);
    EXPECT_EQ(log.back(), (Access{false, device_base + 0x1000, 1, 0}));
}

TEST_F(EmulatorTest, FaultOnTheOtherSideOfAMoveReadsNoDevice) {
    s.gpr[gpr_rsi] = device;
    s.gpr[gpr_rdi] = data + 0x1000;  // not mapped
    instruction({0xa5});             // movsd
    const auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(result.vector, 14);
    EXPECT_EQ(result.error_code, page_fault::write);
    EXPECT_EQ(result.address, data + 0x1000);
    EXPECT_EQ(s.cr2, data + 0x1000);
    EXPECT_EQ(result.dirty, state::event | state::control);
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(s.gpr[gpr_rsi], device);
}

TEST_F(EmulatorTest, FaultInTheMiddleOfARepeatedMove) {
    s.gpr[gpr_rsi] = device;
    s.gpr[gpr_rdi] = data + 0xff4;
    s.gpr[gpr_rcx] = 8;
    instruction({0xf3, 0xa5});
    const auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(s.rip, code);
    EXPECT_EQ(s.gpr[gpr_rcx], 5U);
    EXPECT_EQ(s.gpr[gpr_rsi], device + 12);
    EXPECT_EQ(s.gpr[gpr_rdi], data + 0x1000);
    EXPECT_EQ(result.dirty, state::event | state::control | state::gpr_low | state::gpr_mid);
    EXPECT_EQ(log.size(), 3U);
    // The guest maps the page and goes on.
    machine.map(data + 0x1000, data_gpa + 0x1000);
    EXPECT_EQ(mmio(device_base + 12).outcome, Emulation::done);
    EXPECT_EQ(s.gpr[gpr_rcx], 0U);
    EXPECT_EQ(s.rip, code + 2);
    EXPECT_EQ(log.size(), 8U);
}

TEST_F(EmulatorTest, FaultInTheSecondHalfOfAnOperand) {
    s.gpr[gpr_rsi] = device;
    s.gpr[gpr_rdi] = data + 0xffe;
    machine.ram.put<std::uint16_t>(data_gpa + 0xffe, 0x7777);
    instruction({0xa5});
    const auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(result.address, data + 0x1000);
    EXPECT_EQ(machine.ram.get<std::uint16_t>(data_gpa + 0xffe), 0x7777);
    EXPECT_TRUE(log.empty());
}

TEST_F(EmulatorTest, LongRepetitionComesInChunks) {
    s.gpr[gpr_rdi] = device;
    s.gpr[gpr_rcx] = 5000;
    s.gpr[gpr_rax] = 0x41;
    instruction({0xf3, 0xaa});  // rep stosb
    auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::partial);
    EXPECT_EQ(s.rip, code);
    EXPECT_EQ(s.gpr[gpr_rcx], 904U);
    EXPECT_EQ(s.gpr[gpr_rdi], device + 4096);
    EXPECT_EQ(result.dirty, state::gpr_low | state::gpr_mid);
    result = mmio(device_base + 4096);
    EXPECT_EQ(result.outcome, Emulation::done);
    EXPECT_EQ(s.rip, code + 2);
    EXPECT_EQ(log.size(), 5000U);
}

TEST_F(EmulatorTest, RepeatedMoveEndsWhereTheDeviceDoes) {
    // Behind the device page lies RAM, and behind the target page a copy of it: what the processor can do
    // itself, or would be read after it was written, is not part of this exit.
    machine.map(device + 0x1000, data_gpa + 0x1000);
    machine.map(data + 0x1000, data_gpa + 0x1000);
    s.gpr[gpr_rsi] = device + 0xff8;
    s.gpr[gpr_rdi] = data;
    s.gpr[gpr_rcx] = 4;
    instruction({0xf3, 0xa5});
    const auto result = mmio(device_base + 0xff8);
    EXPECT_EQ(result.outcome, Emulation::partial);
    EXPECT_EQ(s.rip, code);
    EXPECT_EQ(s.gpr[gpr_rcx], 2U);
    EXPECT_EQ(s.gpr[gpr_rsi], device + 0x1000);
    EXPECT_EQ(log.size(), 2U);
}

TEST_F(EmulatorTest, RepeatedMoveEndsWhereTheDeviceChangesSides) {
    machine.map(device + 0x1000, data_gpa);
    machine.map(data + 0x1000, device_base + 0x2000);
    s.gpr[gpr_rsi] = device + 0xffc;
    s.gpr[gpr_rdi] = data + 0xffc;
    s.gpr[gpr_rcx] = 2;
    instruction({0xf3, 0xa5});
    EXPECT_EQ(mmio(device_base + 0xffc).outcome, Emulation::partial);
    EXPECT_EQ(s.gpr[gpr_rcx], 1U);
    EXPECT_EQ(mmio(device_base + 0x2000).outcome, Emulation::done);
    EXPECT_EQ(log.back(), (Access{true, device_base + 0x2000, 4, log.back().value}));
}

TEST_F(EmulatorTest, PushIntoMissingStackReadsNoDevice) {
    s.gpr[gpr_rax] = device;
    s.gpr[gpr_rsp] = data;  // nothing below
    instruction({0xff, 0x30});
    const auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(result.address, data - 8);
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(s.gpr[gpr_rsp], data);
}

TEST_F(EmulatorTest, PopIntoMissingPageKeepsTheStack) {
    s.gpr[gpr_rax] = data + 0x5000;
    s.gpr[gpr_rsp] = device;
    instruction({0x8f, 0x00});
    const auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(s.gpr[gpr_rsp], device);
    EXPECT_EQ(result.dirty, state::event | state::control);
    EXPECT_TRUE(log.empty());
}

TEST_F(EmulatorTest, FsAndGsHaveBases) {
    s.gs.base = device;
    s.gpr[gpr_rax] = 0x20;
    instruction({0x65, 0x8b, 0x08});  // mov ecx, gs:[rax]
    EXPECT_EQ(mmio(device_base + 0x20).outcome, Emulation::done);
    s.fs.base = device + 0x1000;
    instruction({0x64, 0x8b, 0x08});
    s.rip = code;
    instruction({0x64, 0x8b, 0x08});
    EXPECT_EQ(mmio(device_base + 0x1020).outcome, Emulation::done);
    s.ds.base = 0x1000;  // means nothing in 64-bit mode
    s.rip = code;
    s.gpr[gpr_rax] = device;
    instruction({0x3e, 0x8b, 0x08});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
}

TEST_F(EmulatorTest, NonCanonicalOperandOfAString) {
    s.gpr[gpr_rsi] = device;
    s.gpr[gpr_rdi] = 0x8000'0000'0000;
    instruction({0xa4});
    const auto result = mmio(device_base);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(result.vector, 13);
    EXPECT_EQ(s.event, 0x80000b0dU);
    EXPECT_EQ(result.dirty, state::event);
}

TEST_F(EmulatorTest, ResumeAndTrapFlag) {
    s.rflags |= rflags::rf | rflags::tf;
    s.gpr[gpr_rax] = device;
    instruction({0x89, 0x08});
    const auto result = mmio(device_base);
    EXPECT_TRUE(result.single_step);
    EXPECT_EQ(result.dirty, state::rip | state::rflags);
    EXPECT_EQ(s.rflags & rflags::rf, 0U);
}

TEST_F(EmulatorTest, ProtectedModeSegments) {
    machine.pae_mode();
    s.cr3 = machine.table();
    machine.map(code, code_gpa);
    machine.map(device, device_base);
    s.ds.base = device - 0x100;
    s.ds.limit = 0x1ff;
    s.gpr[gpr_rax] = 0xffff'ffff'0000'0110;  // the upper half does not count
    instruction({0x8b, 0x08});
    EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
    // Beyond the limit.
    s.rip = code;
    s.gpr[gpr_rax] = 0x1fd;
    EXPECT_EQ(mmio(device_base + 0xfd).vector, 13);
    // Not writable.
    s.ds.attributes = 0xc91;
    s.gpr[gpr_rax] = 0x110;
    instruction({0x89, 0x08});
    EXPECT_EQ(mmio(device_base + 0x10).vector, 13);
    // The stack segment has a fault of its own.
    s.ss.limit = 0xff;
    s.gpr[gpr_rbp] = 0x100;
    instruction({0x8b, 0x4d, 0x00});
    EXPECT_EQ(mmio(device_base).vector, 12);
    // Expand-down: only what lies above the limit.
    s.rip = code;
    s.ds = {16, 0xc97, 0x10f, device - 0x100};
    s.gpr[gpr_rax] = 0x110;
    instruction({0x8b, 0x08});
    EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
    s.rip = code;
    s.gpr[gpr_rax] = 0x10f;
    EXPECT_EQ(mmio(device_base + 0xf).vector, 13);
}

TEST_F(EmulatorTest, RealMode) {
    machine.real_mode();
    s.cs.base = code_gpa;
    s.rip = 0;
    s.ds.base = device_base - 0x100;  // as after a trip through protected mode
    s.gpr[gpr_rbx] = 0xabcd'fff0;
    s.gpr[gpr_rsi] = 0x1234'0120;
    s.gpr[gpr_rax] = 0x5a;
    instruction({0x88, 0x00});  // mov [bx + si], al: the sum wraps at 64 KiB
    EXPECT_EQ(mmio(device_base + 0x10).outcome, Emulation::done);
    EXPECT_EQ(s.rip, 2U);
    EXPECT_EQ(log.back(), (Access{true, device_base + 0x10, 1, 0x5a}));
    // REP with 16-bit registers leaves their upper halves.
    s.rip = 0;
    s.es.base = device_base;
    s.gpr[gpr_rdi] = 0x7777'0000;
    s.gpr[gpr_rcx] = 0x8888'0003;
    instruction({0xf3, 0xab});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    EXPECT_EQ(s.gpr[gpr_rdi], 0x7777'0006U);
    EXPECT_EQ(s.gpr[gpr_rcx], 0x8888'0000U);
    // An exception has no error code.
    s.rip = 0;
    s.ds.limit = 0x10;
    s.gpr[gpr_rsi] = 0x120;
    instruction({0x88, 0x00});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::exception);
    EXPECT_EQ(s.event, 0x8000030dU);
}

TEST_F(EmulatorTest, OutsWithSegmentOverride) {
    for (unsigned i = 0; i < 3; ++i) {
        machine.ram.put<std::uint8_t>(data_gpa + i, static_cast<std::uint8_t>('a' + i));
    }
    s.fs.base = data - 0x10;
    s.gpr[gpr_rsi] = 0x10;
    s.gpr[gpr_rcx] = 3;
    s.gpr[gpr_rdx] = 0x3f8;
    instruction({0xf3, 0x64, 0x6e});
    const auto access =
        0x3f8 | 1 << port_access::width_shift | port_access::string | port_access::rep;
    const auto result = machine.emulator.port_string(s, access);
    EXPECT_EQ(result.outcome, Emulation::done);
    EXPECT_EQ(result.dirty, state::gpr_low | state::gpr_mid | state::rip);
    EXPECT_EQ(s.rip, code + 3);
    EXPECT_EQ(s.gpr[gpr_rcx], 0U);
    EXPECT_THAT(log, testing::ElementsAre(Access{true, 0x3f8, 1, 'a'}, Access{true, 0x3f8, 1, 'b'},
                                          Access{true, 0x3f8, 1, 'c'}));
}

TEST_F(EmulatorTest, InsChecksBeforeItReadsThePort) {
    s.gpr[gpr_rdi] = data + 0xffc;
    s.gpr[gpr_rcx] = 3;
    s.gpr[gpr_rdx] = 0x1f0;
    instruction({0xf3, 0x66, 0x6d});  // rep insw
    const auto access = 0x1f0 | 2 << port_access::width_shift | port_access::string |
                        port_access::rep | port_access::in;
    const auto result = machine.emulator.port_string(s, access);
    EXPECT_EQ(result.outcome, Emulation::exception);
    EXPECT_EQ(result.error_code, page_fault::write);
    EXPECT_EQ(s.cr2, data + 0x1000);
    EXPECT_EQ(log.size(), 2U);
    EXPECT_EQ(machine.ram.get<std::uint32_t>(data_gpa + 0xffc), 0x0012'0011U);
    EXPECT_EQ(s.gpr[gpr_rcx], 1U);
    // What hardware says must be what the code says.
    EXPECT_EQ(machine.emulator.port_string(s, access & ~port_access::in).outcome, Emulation::retry);
    EXPECT_EQ(machine.emulator.port_string(s, access + 1).outcome, Emulation::retry);
    EXPECT_EQ(log.size(), 2U);
}

TEST_F(EmulatorTest, ReadGuestCodeStopsAtTheLastByte) {
    std::byte bytes[64];
    s.rip = code + 0xff0;
    EXPECT_EQ(read_guest_code(machine.ram, s, bytes), 16U);
    s.rip = data + 0x1000;
    EXPECT_EQ(read_guest_code(machine.ram, s, bytes), 0U);
}

// A repeated access costs no walk and no decode.
TEST_F(EmulatorTest, RepeatedAccessIsCached) {
    s.gpr[gpr_rax] = device;
    instruction({0x89, 0x08});
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    s.rip = code;
    const auto before = machine.ram.windows;
    EXPECT_EQ(mmio(device_base).outcome, Emulation::done);
    EXPECT_EQ(machine.ram.windows, before);
}

}  // namespace
}  // namespace margay::vmm::test

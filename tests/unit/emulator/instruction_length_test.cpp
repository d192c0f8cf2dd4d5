#include "servers/vmm/emulator/instruction_length.hpp"

#include "servers/vmm/emulator/decoder.hpp"
#include "tests/unit/emulator/machine.hpp"

#include <capstone/capstone.h>

#include <random>

namespace margay::vmm::test {
namespace {

class InstructionLength : public testing::Test {
  protected:
    InstructionLength() {
        machine.map(0x40'0000, 0x1000);
        machine.state.rip = 0x40'0000;
    }
    void check(std::initializer_list<unsigned> bytes, unsigned length) {
        machine.ram.put_bytes(0x1000, bytes);
        EXPECT_EQ(decode_length(machine.ram, machine.state), length)
            << std::hex << *bytes.begin() << ' ' << *(bytes.end() - 1);
    }
    Machine machine;
};

TEST_F(InstructionLength, WhatExits) {
    check({0x0f, 0xa2}, 2);        // cpuid
    check({0xf3, 0x0f, 0xa2}, 3);  // with a prefix that means nothing
    check({0x48, 0x0f, 0xa2}, 3);
    check({0xf4}, 1);                    // hlt
    check({0x0f, 0x30}, 2);              // wrmsr
    check({0x0f, 0x32}, 2);              // rdmsr
    check({0x0f, 0x31}, 2);              // rdtsc
    check({0x0f, 0x01, 0xf9}, 3);        // rdtscp
    check({0x0f, 0x01, 0xd9}, 3);        // vmmcall
    check({0x0f, 0x01, 0xc1}, 3);        // vmcall
    check({0xf3, 0x90}, 2);              // pause
    check({0x0f, 0x22, 0xd8}, 3);        // mov cr3, rax
    check({0x41, 0x0f, 0x22, 0xc0}, 4);  // mov cr0, r8
    check({0x0f, 0x20, 0xc0}, 3);        // mov rax, cr0
    check({0x0f, 0x01, 0x38}, 3);        // invlpg [rax]
    check({0x0f, 0x01, 0x3c, 0x25, 0, 0, 0, 0}, 8);
    check({0x0f, 0x09}, 2);  // wbinvd
    check({0xcd, 0x80}, 2);  // int 0x80
    check({0x0f, 0x0b}, 2);  // ud2
}

TEST_F(InstructionLength, NothingThere) {
    machine.state.rip = 0x50'0000;
    EXPECT_EQ(decode_length(machine.ram, machine.state), 0U);
    machine.state.rip = 0x40'0fff;
    machine.ram.put_bytes(0x1fff, {0x0f});  // the rest is not mapped
    EXPECT_EQ(decode_length(machine.ram, machine.state), 0U);
    machine.ram.put_bytes(0x1fff, {0xf4});
    EXPECT_EQ(decode_length(machine.ram, machine.state), 1U);
}

// Every operation that is emulated has the length that another decoder gives it.
TEST(Decoder, AgreesWithCapstoneAboutLengths) {
    std::mt19937_64 generator{7};
    unsigned compared = 0;
    for (const auto& [size, mode] :
         {std::pair{CodeSize::bits16, CS_MODE_16}, std::pair{CodeSize::bits32, CS_MODE_32},
          std::pair{CodeSize::bits64, CS_MODE_64}}) {
        csh handle;
        ASSERT_EQ(cs_open(CS_ARCH_X86, mode, &handle), CS_ERR_OK);
        for (int i = 0; i < 60'000; ++i) {
            std::uint8_t bytes[15];
            for (auto& byte : bytes) {
                byte = static_cast<std::uint8_t>(generator());
            }
            const std::uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0x48, 0x65};
            if (i % 3 == 0) {
                bytes[0] = prefixes[generator() % 5];
            }
            Operation operation;
            if (decode(std::as_bytes(std::span{bytes}), size, operation) != DecodeStatus::ok ||
                operation.kind == OperationKind::unsupported) {
                continue;
            }
            cs_insn* instruction = nullptr;
            if (cs_disasm(handle, bytes, sizeof(bytes), 0, 1, &instruction) == 1) {
                EXPECT_EQ(operation.length, instruction->size)
                    << instruction->mnemonic << ' ' << instruction->op_str;
                ++compared;
                cs_free(instruction, 1);
            }
        }
        cs_close(&handle);
    }
    EXPECT_GT(compared, 20'000U);
}

}  // namespace
}  // namespace margay::vmm::test

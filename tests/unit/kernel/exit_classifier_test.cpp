#include "ukernel/arch/x86_64/svm/exit_classifier.hpp"

#include <gtest/gtest.h>

namespace margay {
namespace {

struct Exit {
    Vmcb v{};
    std::uint64_t gpr[16] = {};
    Exit(std::uint64_t code, std::uint64_t info1 = 0, std::uint64_t info2 = 0) {
        v.exit_code = code;
        v.exit_info1 = info1;
        v.exit_info2 = info2;
        v.rip = 0x1000;
        v.next_rip = 0x1007;
        v.rax = 0x1111'2222'3333'4444;
        gpr[gpr_rax] = 0xbad;  // RAX is in the VMCB
        gpr[gpr_rcx] = 0x5555'6666'c000'0080;
        gpr[gpr_rdx] = 0x9999'aaaa'7777'8888;
        gpr[gpr_rbx] = 0xb;
    }
    Classified classify(bool next = false) const {
        return classify_exit(v, gpr, next, [] { return 7ull; });
    }
};

// The class of each exit code of appendix C, written down a second time.
ExitClass expected_class(std::uint64_t code) {
    if (code < 0x20 || code == 0x8d) return ExitClass::control_register;
    if (code < 0x40) return ExitClass::debug_register;
    if (code < 0x60) return ExitClass::exception;
    switch (code) {
    case 0x64: return ExitClass::interrupt_window;
    case 0x6e:
    case 0x87: return ExitClass::time_stamp;
    case 0x6f: return ExitClass::rdpmc;
    case 0x72: return ExitClass::cpuid;
    case 0x76:
    case 0x89: return ExitClass::cache_control;
    case 0x77: return ExitClass::pause;
    case 0x78: return ExitClass::halt;
    case 0x79: return ExitClass::translation;
    case 0x7b: return ExitClass::port;
    case 0x7c: return ExitClass::msr;
    case 0x7d: return ExitClass::task_switch;
    case 0x7e: return ExitClass::legacy_fpu_error;
    case 0x7a:
    case 0x80:
    case 0x82:
    case 0x83:
    case 0x84:
    case 0x85:
    case 0x86:
    case 0x8a:
    case 0x8b:
    case 0x8c: return ExitClass::unsupported_instruction;
    case 0x7f: return ExitClass::shutdown;
    case 0x81: return ExitClass::hypercall;
    case 0x400: return ExitClass::mmio;
    default: return ExitClass::unknown;
    }
}

TEST(ExitClassifier, EveryCodeHasItsClass) {
    for (std::uint64_t code = 0; code <= 0x8f; ++code)
        for (const bool next : {false, true}) {
            const Classified c = Exit{code, 0x12}.classify(next);
            EXPECT_EQ(c.exit_class, expected_class(code)) << std::hex << code;
            if (c.exit_class == ExitClass::unknown) {
                EXPECT_EQ(c.detail0 | c.detail1, 0u) << "the processor's numbers stay inside";
            }
        }
    EXPECT_EQ(Exit{0x400}.classify().exit_class, ExitClass::mmio);
    EXPECT_EQ(Exit{0x401}.classify().exit_class, ExitClass::unknown);
    EXPECT_EQ(Exit{0x402}.classify().detail0, 0u);
}

TEST(ExitClassifier, InvalidStateInBothWidths) {
    EXPECT_EQ(Exit{0xffff'ffff}.classify().exit_class, ExitClass::invalid_state);
    EXPECT_EQ(Exit{~0ull}.classify().exit_class, ExitClass::invalid_state);
    EXPECT_EQ(Exit{0xffff'fffe}.classify().exit_class, ExitClass::unknown);
}

TEST(ExitClassifier, NextInstruction) {
    const struct {
        std::uint64_t code;
        unsigned length;
    } known[] = {{0x72, 2}, {0x7c, 2}, {0x78, 1}, {0x81, 3},
                 {0x77, 2}, {0x6f, 2}, {0x76, 2}, {0x89, 2}};
    for (const auto& k : known) {
        EXPECT_EQ(Exit{k.code}.classify(false).next_rip, 0x1000u + k.length) << std::hex << k.code;
        EXPECT_EQ(Exit{k.code}.classify(false).flags, exit_flag::length_assumed);
        EXPECT_EQ(Exit{k.code}.classify(true).next_rip, 0x1007u) << std::hex << k.code;
        EXPECT_EQ(Exit{k.code}.classify(true).flags, 0u);
    }
    for (std::uint64_t code = 0; code < 0x20; ++code) {
        EXPECT_EQ(Exit{code}.classify(false).next_rip, 0u);
        EXPECT_EQ(Exit{code}.classify(true).next_rip, 0x1007u);
    }
    // Faults and windows exit before an instruction: nothing may be skipped, whatever the field says.
    for (const std::uint64_t code : {0x40ull, 0x4eull, 0x5full, 0x64ull, 0x7full, 0x400ull, ~0ull})
        for (const bool next : {false, true})
            EXPECT_EQ(Exit(code).classify(next).next_rip, 0u) << std::hex << code;
    EXPECT_EQ(Exit(0x7b, 0, 0x2345).classify(false).flags, 0u) << "the processor says it for ports";
    // Debug registers and the like: only the processor knows.
    EXPECT_EQ(Exit{0x20}.classify(false).next_rip, 0u);
    EXPECT_EQ(Exit{0x20}.classify(true).next_rip, 0x1007u);
}

TEST(ExitClassifier, PortDetails) {
    for (const unsigned width : {1u, 2u, 4u})
        for (unsigned direction = 0; direction < 2; ++direction)
            for (const std::uint64_t port : {0x0ull, 0x3f8ull, 0xffffull})
                for (unsigned form = 0; form < 4; ++form) {
                    const std::uint64_t info = port << 16 | width << 4 | (form & 1) << 2 |
                                               (form & 2) << 2 | direction | 7 << 7 | 1 << 10;
                    const Classified c = Exit{0x7b, info, 0x2345}.classify();
                    EXPECT_EQ(c.exit_class, ExitClass::port);
                    EXPECT_EQ(c.detail0 & port_access::port_mask, port);
                    EXPECT_EQ(c.detail0 >> port_access::width_shift & 7, width);
                    EXPECT_EQ((c.detail0 & port_access::in) != 0, direction == 1);
                    EXPECT_EQ((c.detail0 & port_access::string) != 0, (form & 1) != 0);
                    EXPECT_EQ((c.detail0 & port_access::rep) != 0, (form & 2) != 0);
                    EXPECT_EQ(c.detail1, 0x2345u);
                    EXPECT_EQ(c.next_rip, 0x2345u);
                }
}

TEST(ExitClassifier, MsrValues) {
    const Classified read = Exit{0x7c, 0}.classify();
    EXPECT_EQ(read.detail0, 0xc000'0080u);
    EXPECT_EQ(read.detail1, 0u);
    const Classified write = Exit{0x7c, 1}.classify();
    EXPECT_EQ(write.detail0, 0x1'c000'0080u);
    EXPECT_EQ(write.detail1, 0x7777'8888'3333'4444u);
}

TEST(ExitClassifier, RegistersOfCpuidAndHypercall) {
    const Classified cpuid = Exit{0x72}.classify();
    EXPECT_EQ(cpuid.detail0, 0x3333'4444u);
    EXPECT_EQ(cpuid.detail1, 0xc000'0080u);
    Exit xsave{0x72};
    xsave.v.rax = 0xd;
    xsave.v.cr4 = 0x40020;
    EXPECT_EQ(xsave.classify().detail0, 0x7'0000'000du) << "the leaf that depends on XCR0";
    EXPECT_EQ(xsave.classify().detail1, 0x40020'c000'0080u);
    const Classified call = Exit{0x81}.classify();
    EXPECT_EQ(call.detail0, 0x1111'2222'3333'4444u);
    EXPECT_EQ(call.detail1, 0xbu);
}

TEST(ExitClassifier, XsetbvIsAWriteToARegister) {
    Exit exit{0x8d};
    EXPECT_EQ(exit.classify().detail0, register_access::xcr | 0xff) << "there is no such XCR";
    EXPECT_EQ(exit.classify().detail1, 0x7777'8888'3333'4444u);
    exit.gpr[gpr_rcx] = 0;
    EXPECT_EQ(exit.classify().detail0, register_access::xcr);
    exit.gpr[gpr_rcx] = 254;
    EXPECT_EQ(exit.classify().detail0, register_access::xcr | 254);
}

TEST(ExitClassifier, FaultsAndControlRegisters) {
    const Classified npf = Exit{0x400, 0x1'0000'0006, 0xfee0'0020}.classify();
    EXPECT_EQ(npf.detail0, 0xfee0'0020u);
    EXPECT_EQ(npf.detail1, 0x1'0000'0006u);
    EXPECT_EQ(Exit(0x4e, 0x15).classify().detail0, 14u);
    EXPECT_EQ(Exit(0x4e, 0x15).classify().detail1, 0x15u);
    EXPECT_EQ(Exit{0x08}.classify().detail0, 8u);
    EXPECT_EQ(Exit{0x18}.classify().detail0, 0x108u);
    EXPECT_EQ(Exit{0x13}.classify().detail0, 0x103u);
    EXPECT_EQ(Exit{0x27}.classify().detail0, 7u);
    EXPECT_EQ(Exit{0x36}.classify().detail0, 0x106u);
}

}  // namespace
}  // namespace margay

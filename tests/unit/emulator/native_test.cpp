// The emulator against the processor that runs the tests: same registers, same memory, one instruction.
#include "servers/vmm/emulator/arithmetic.hpp"
#include "tests/unit/emulator/machine.hpp"
#include "tests/unit/emulator/native_cpu.hpp"

#include <algorithm>
#include <iomanip>
#include <random>
#include <sstream>

namespace margay::vmm::test {
namespace {

constexpr std::uint64_t stack_gpa = 0x4000;  // RAM
constexpr std::uint64_t code_gpa = 0x8000;
constexpr unsigned rounds = 600;

enum class Immediate { none, byte, operand };

/// One encoding with a ModRM memory operand.
struct Form {
    const char* name;
    std::vector<unsigned> opcode;
    int digit;            // of the ModRM byte; -1: a register
    unsigned byte_sized;  // operand is a byte whatever the prefixes say
    Immediate immediate;
    std::uint64_t undefined = 0;  // flags
    bool lockable = false;
    unsigned memory_width = 0;  // 0: the operand size
    bool is_movbe = false;
};

/// Not every processor has MOVBE: it is told to execute MOV, and the operand's bytes are swapped behind that.
struct Movbe {
    unsigned reg;    ///< the register operand
    unsigned width;  ///< 2, 4 or 8 bytes
    bool is_load;
};

std::uint64_t swap_bytes(std::uint64_t value, unsigned width) {
    switch (width) {
    case 2: return (value & ~0xffffULL) | __builtin_bswap16(static_cast<std::uint16_t>(value));
    case 4: return __builtin_bswap32(static_cast<std::uint32_t>(value));
    default: return __builtin_bswap64(value);
    }
}

/// MOVBE as MOV of the same length, so that an operand relative to RIP stays where it is. DS means nothing in 64-bit mode.
std::vector<std::uint8_t> to_mov(std::vector<std::uint8_t> movbe) {
    constexpr std::uint8_t opcode[] = {0x0f, 0x38}, padding[] = {0x3e, 0x3e};
    const auto at = std::search(movbe.begin(), movbe.end(), std::begin(opcode), std::end(opcode));
    at[2] = at[2] == 0xf0 ? 0x8b : 0x89;
    movbe.erase(at, at + 2);
    movbe.insert(movbe.begin(), std::begin(padding), std::end(padding));
    return movbe;
}

class Native : public testing::Test {
  protected:
    Native() {
        // Two pages each, not neighbours in guest-physical memory.
        machine.map(NativeCpu::device, device_base);
        machine.map(NativeCpu::device + 0x1000, device_base + 0x2000);
        machine.map(NativeCpu::stack, stack_gpa);
        machine.map(NativeCpu::stack + 0x1000, stack_gpa + 0x2000);
        machine.map(NativeCpu::code, code_gpa);
    }

    std::uint64_t random(std::uint64_t below) { return generator() % below; }
    bool chance(unsigned in) { return random(in) == 0; }
    std::uint64_t random_value() {
        // Corners often: equal operands, carries and overflow come from there.
        switch (random(4)) {
        case 0: return static_cast<std::uint64_t>(static_cast<std::int64_t>(random(5)) - 2);
        case 1: {
            const std::uint64_t corners[] = {0x7f,
                                             0x80,
                                             0x7fff,
                                             0x8000,
                                             0x7fff'ffff,
                                             0x8000'0000,
                                             0x7fff'ffff'ffff'ffff,
                                             0x8000'0000'0000'0000};
            return corners[random(8)];
        }
        default: return generator();
        }
    }

    static std::uint64_t to_gpa(std::uint64_t linear) {
        const bool second = (linear & 0x1000) != 0;
        const std::uint64_t base = linear >= NativeCpu::stack ? stack_gpa : device_base;
        return base + (second ? 0x2000 : 0) + (linear & 0xfff);
    }

    void fill_memory() {
        for (auto* memory : {NativeCpu::device_memory(), NativeCpu::stack_memory()}) {
            for (unsigned at = 0; at < 8192; at += 8) {
                const std::uint64_t value = random_value();
                std::memcpy(memory + at, &value, 8);
            }
        }
    }
    void copy_to_guest() {
        std::memcpy(machine.device.bytes, NativeCpu::device_memory(), 4096);
        std::memcpy(machine.device.bytes + 0x2000, NativeCpu::device_memory() + 4096, 4096);
        std::memcpy(machine.ram.window(stack_gpa, 4096).data(), NativeCpu::stack_memory(), 4096);
        std::memcpy(machine.ram.window(stack_gpa + 0x2000, 4096).data(),
                    NativeCpu::stack_memory() + 4096, 4096);
    }
    bool same_memory() {
        return std::memcmp(machine.device.bytes, NativeCpu::device_memory(), 4096) == 0 &&
               std::memcmp(machine.device.bytes + 0x2000, NativeCpu::device_memory() + 4096,
                           4096) == 0 &&
               std::memcmp(machine.ram.window(stack_gpa, 4096).data(), NativeCpu::stack_memory(),
                           4096) == 0 &&
               std::memcmp(machine.ram.window(stack_gpa + 0x2000, 4096).data(),
                           NativeCpu::stack_memory() + 4096, 4096) == 0;
    }

    void run_movbe(const std::vector<std::uint8_t>& bytes, NativeCpu::Registers& registers,
                   const Movbe& movbe, std::uint64_t operand) {
        cpu.place(to_mov(bytes));
        cpu.run(registers);
        if (movbe.is_load) {
            auto& loaded = registers.gpr[movbe.reg];
            loaded = swap_bytes(loaded, movbe.width);
            return;
        }
        auto* const stored = reinterpret_cast<void*>(operand);
        std::uint64_t value = 0;
        std::memcpy(&value, stored, movbe.width);
        value = swap_bytes(value, movbe.width);
        std::memcpy(stored, &value, movbe.width);
    }

    /// Run on both and compare. `exit_linear`: where the guest would exit.
    void compare(const std::vector<std::uint8_t>& bytes, NativeCpu::Registers registers,
                 std::uint64_t exit_linear, std::uint64_t undefined, const char* name,
                 const Movbe* movbe = nullptr) {
        const std::uint64_t rip = cpu.place(bytes);
        std::memcpy(machine.ram.window(code_gpa + (rip & 0xfff), 16).data(),
                    reinterpret_cast<const void*>(rip), 16);
        copy_to_guest();
        std::copy(std::begin(registers.gpr), std::end(registers.gpr), machine.state.gpr);
        machine.state.rip = rip;
        machine.state.rflags = registers.rflags;
        const auto before = registers;

        const auto result = machine.emulator.mmio(machine.state, to_gpa(exit_linear), 0);
        if (movbe != nullptr)
            run_movbe(bytes, registers, *movbe, exit_linear);
        else
            cpu.run(registers);

        std::ostringstream text;
        text << name << ':' << std::hex << std::setfill('0');
        for (const unsigned byte : bytes) {
            text << ' ' << std::setw(2) << byte;
        }
        ASSERT_EQ(result.outcome, Emulation::done)
            << text.str() << " " << (result.reason != nullptr ? result.reason : "");
        ASSERT_EQ(machine.state.rip, rip + bytes.size()) << text.str();
        std::uint64_t changed = state::rip;
        for (unsigned i = 0; i < 16; ++i) {
            ASSERT_EQ(machine.state.gpr[i], registers.gpr[i])
                << text.str() << " register " << i << std::hex << " before " << before.gpr[i];
            if (before.gpr[i] != registers.gpr[i]) {
                changed |= i < 4 ? state::gpr_low : i < 8 ? state::gpr_mid : state::gpr_high;
            }
        }
        const std::uint64_t defined = (rflags::arithmetic | rflags::df) & ~undefined;
        ASSERT_EQ(machine.state.rflags & defined, registers.rflags & defined)
            << text.str() << std::hex << " before " << before.rflags;
        if (machine.state.rflags != before.rflags) {
            changed |= state::rflags;
        }
        ASSERT_EQ(result.dirty & changed, changed) << text.str();
        ASSERT_EQ(result.dirty & ~(state::gpr_low | state::gpr_mid | state::gpr_high | state::rip |
                                   state::rflags),
                  0U);
        ASSERT_TRUE(same_memory()) << text.str();
    }

    NativeCpu::Registers random_registers() {
        NativeCpu::Registers registers;
        for (auto& value : registers.gpr) {
            value = random_value();
        }
        registers.rflags = 2 | (generator() & rflags::arithmetic);
        return registers;
    }

    void check_form(const Form& form) {
        for (unsigned i = 0; i < rounds && !HasFatalFailure(); ++i) {
            check_once(form);
        }
    }

    void check_once(const Form& form) {
        fill_memory();
        auto registers = random_registers();
        std::vector<std::uint8_t> bytes;
        const auto add = [&bytes](std::uint64_t value, unsigned count = 1) {
            for (unsigned i = 0; i < count; ++i) {
                bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
            }
        };
        const bool is_stack = form.name[0] == 'p';  // push, pop
        const bool small = chance(4);
        const bool wide = !is_stack && chance(2);
        const bool short_address = chance(4);
        const unsigned width = form.byte_sized != 0 ? 1 : wide ? 8 : small ? 2 : is_stack ? 8 : 4;
        const unsigned memory_width = form.memory_width != 0 ? form.memory_width : width;
        const auto reg = static_cast<unsigned>(random(16));
        const bool rip_relative = chance(8);
        unsigned base = 0, index = 0;
        bool has_index = false;
        do {
            base = static_cast<unsigned>(random(16));
            index = static_cast<unsigned>(random(16));
            has_index = chance(2) && index != 4;
        } while ((has_index && base == index) ||
                 (form.digit < 0 && (reg == base || (has_index && reg == index))) ||
                 (is_stack && (base == 4 || index == 4)));
        const bool is_bit_by_register =
            form.digit < 0 && form.opcode.size() == 2 && (form.opcode[1] & 0xe7) == 0xa3;

        if (small) {
            add(0x66);
        }
        if (short_address) {
            add(0x67);
        }
        if (form.lockable && chance(3)) {
            add(0xf0);
        }
        const unsigned rex_r = form.digit < 0 ? reg >> 3 : 0;
        const unsigned rex = (wide ? 8 : 0) | rex_r << 2 |
                             (!rip_relative && has_index ? (index >> 3) << 1 : 0) |
                             (!rip_relative ? base >> 3 : 0);
        const bool has_rex = rex != 0 || chance(3);
        if (has_rex) {
            add(0x40 | rex);
        }
        for (const unsigned byte : form.opcode) {
            add(byte);
        }

        // Where the operand lies: somewhere in the device, now and then across the page boundary.
        const std::uint64_t target =
            NativeCpu::device + (chance(8) ? 4096 - random(8) : 128 + random(8192 - 256));
        std::uint64_t touched = target;
        if (is_bit_by_register) {
            const auto bits = static_cast<std::int64_t>(random(800)) - 400;
            registers.gpr[reg] = (registers.gpr[reg] & ~width_mask(width)) |
                                 (static_cast<std::uint64_t>(bits) & width_mask(width));
            touched += static_cast<std::uint64_t>((bits >> (3 + __builtin_ctz(width))) *
                                                  static_cast<std::int64_t>(width));
        }
        const unsigned modrm_reg = (form.digit < 0 ? reg & 7 : static_cast<unsigned>(form.digit))
                                   << 3;
        const unsigned immediate_bytes = form.immediate == Immediate::none   ? 0
                                         : form.immediate == Immediate::byte ? 1
                                         : width == 8                        ? 4
                                                                             : width;
        if (rip_relative) {
            add(5 | modrm_reg);
            const std::uint64_t next = NativeCpu::code + 512 + bytes.size() + 4 + immediate_bytes;
            add(target - next, 4);
        } else {
            const auto displacement = static_cast<std::int64_t>(random(0x2000)) - 0x1000;
            const bool near = chance(2);
            const auto used =
                near ? static_cast<std::int64_t>(static_cast<std::int8_t>(displacement))
                     : displacement;
            const unsigned scale = static_cast<unsigned>(random(4));
            const bool needs_sib = has_index || (base & 7) == 4;
            add((near ? 0x40U : 0x80U) | modrm_reg | (needs_sib ? 4 : base & 7));
            if (needs_sib) {
                add(scale << 6 | (has_index ? index & 7 : 4) << 3 | (base & 7));
            }
            add(static_cast<std::uint64_t>(used), near ? 1 : 4);
            registers.gpr[base] = target - static_cast<std::uint64_t>(used) -
                                  (has_index ? registers.gpr[index] << scale : 0);
            if (short_address) {
                registers.gpr[base] += random(16) << 60;  // does not count
            }
        }
        add(random_value(), immediate_bytes);
        if (form.name[0] == 'c' && form.lockable && chance(2)) {
            // CMPXCHG that succeeds.
            std::uint64_t value = 0;
            std::memcpy(&value, reinterpret_cast<const void*>(touched), memory_width);
            if (base != 0 && !(has_index && index == 0)) {
                registers.gpr[0] =
                    (registers.gpr[0] & ~width_mask(width)) | (value & width_mask(width));
            }
        }
        if (is_stack) {
            registers.gpr[4] = NativeCpu::stack + 64 + random(8192 - 128);
        }
        const Movbe movbe{reg, width, form.opcode.back() == 0xf0};
        compare(bytes, registers, touched, form.undefined, form.name,
                form.is_movbe ? &movbe : nullptr);
    }

    std::mt19937_64 generator{20260101};
    NativeCpu cpu;
    Machine machine;
};

TEST_F(Native, Arithmetic) {
    const char* const names[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
    for (unsigned op = 0; op < 8; ++op) {
        const std::uint64_t undefined = op == 1 || op == 4 || op == 6 ? rflags::af : 0;
        const int digit = static_cast<int>(op);
        const auto* const name = names[op];
        const bool lock = op != 7;
        check_form({name, {op * 8}, -1, 1, Immediate::none, undefined, lock});
        check_form({name, {op * 8 + 1}, -1, 0, Immediate::none, undefined, lock});
        check_form({name, {op * 8 + 2}, -1, 1, Immediate::none, undefined});
        check_form({name, {op * 8 + 3}, -1, 0, Immediate::none, undefined});
        check_form({name, {0x80}, digit, 1, Immediate::byte, undefined, lock});
        check_form({name, {0x81}, digit, 0, Immediate::operand, undefined, lock});
        check_form({name, {0x83}, digit, 0, Immediate::byte, undefined, lock});
    }
    check_form({"test", {0x84}, -1, 1, Immediate::none, rflags::af});
    check_form({"test", {0x85}, -1, 0, Immediate::none, rflags::af});
    check_form({"test", {0xf6}, 0, 1, Immediate::byte, rflags::af});
    check_form({"test", {0xf7}, 0, 0, Immediate::operand, rflags::af});
}

TEST_F(Native, OneOperand) {
    check_form({"inc", {0xfe}, 0, 1, Immediate::none, 0, true});
    check_form({"inc", {0xff}, 0, 0, Immediate::none, 0, true});
    check_form({"dec", {0xfe}, 1, 1, Immediate::none, 0, true});
    check_form({"dec", {0xff}, 1, 0, Immediate::none, 0, true});
    check_form({"not", {0xf6}, 2, 1, Immediate::none, 0, true});
    check_form({"not", {0xf7}, 2, 0, Immediate::none, 0, true});
    check_form({"neg", {0xf6}, 3, 1, Immediate::none, 0, true});
    check_form({"neg", {0xf7}, 3, 0, Immediate::none, 0, true});
}

TEST_F(Native, Moves) {
    check_form({"mov", {0x88}, -1, 1, Immediate::none});
    check_form({"mov", {0x89}, -1, 0, Immediate::none});
    check_form({"mov", {0x8a}, -1, 1, Immediate::none});
    check_form({"mov", {0x8b}, -1, 0, Immediate::none});
    check_form({"mov", {0xc6}, 0, 1, Immediate::byte});
    check_form({"mov", {0xc7}, 0, 0, Immediate::operand});
    check_form({"xchg", {0x86}, -1, 1, Immediate::none, 0, true});
    check_form({"xchg", {0x87}, -1, 0, Immediate::none, 0, true});
}

TEST_F(Native, Extensions) {
    check_form({"movzx", {0x0f, 0xb6}, -1, 0, Immediate::none, 0, false, 1});
    check_form({"movzx", {0x0f, 0xb7}, -1, 0, Immediate::none, 0, false, 2});
    check_form({"movsx", {0x0f, 0xbe}, -1, 0, Immediate::none, 0, false, 1});
    check_form({"movsx", {0x0f, 0xbf}, -1, 0, Immediate::none, 0, false, 2});
    check_form({"movsxd", {0x63}, -1, 0, Immediate::none});
}

TEST_F(Native, Movbe) {
    for (const unsigned last : {0xf0U, 0xf1U})
        check_form({"movbe", {0x0f, 0x38, last}, -1, 0, Immediate::none, 0, false, 0, true});
}

TEST_F(Native, ExchangeAndCompare) {
    check_form({"xadd", {0x0f, 0xc0}, -1, 1, Immediate::none, 0, true});
    check_form({"xadd", {0x0f, 0xc1}, -1, 0, Immediate::none, 0, true});
    check_form({"cmpxchg", {0x0f, 0xb0}, -1, 1, Immediate::none, 0, true});
    check_form({"cmpxchg", {0x0f, 0xb1}, -1, 0, Immediate::none, 0, true});
}

TEST_F(Native, Bits) {
    constexpr auto undefined = rflags::of | rflags::sf | rflags::af | rflags::pf;
    const char* const names[] = {"bt", "bts", "btr", "btc"};
    for (unsigned op = 0; op < 4; ++op) {
        check_form({names[op], {0x0f, 0xa3 + op * 8}, -1, 0, Immediate::none, undefined, op != 0});
        check_form({names[op],
                    {0x0f, 0xba},
                    static_cast<int>(op + 4),
                    0,
                    Immediate::byte,
                    undefined,
                    op != 0});
    }
}

TEST_F(Native, Conditions) {
    for (unsigned condition = 0; condition < 16; ++condition) {
        check_form({"setcc", {0x0f, 0x90 + condition}, 0, 1, Immediate::none});
        check_form({"movcc", {0x0f, 0x40 + condition}, -1, 0, Immediate::none});
    }
}

TEST_F(Native, StackOperands) {
    check_form({"push", {0xff}, 6, 0, Immediate::none});
    check_form({"pop", {0x8f}, 0, 0, Immediate::none});
}

// POP computes its address with the stack pointer behind the popped value.
TEST_F(Native, PopRelativeToStackPointer) {
    fill_memory();
    auto registers = random_registers();
    registers.gpr[4] = NativeCpu::stack + 0x100;
    const auto distance = static_cast<std::uint32_t>(NativeCpu::device - NativeCpu::stack);
    std::vector<std::uint8_t> bytes{0x8f, 0x84, 0x24};
    for (unsigned i = 0; i < 4; ++i) {
        bytes.push_back(static_cast<std::uint8_t>(distance >> (8 * i)));
    }
    compare(bytes, registers, NativeCpu::device + 0x108, 0, "pop");
}

TEST_F(Native, AbsoluteMoves) {
    for (unsigned i = 0; i < rounds && !HasFatalFailure(); ++i) {
        fill_memory();
        const unsigned opcode = 0xa0 + static_cast<unsigned>(random(4));
        const bool short_address = chance(2);
        std::vector<std::uint8_t> bytes;
        if (chance(2)) {
            bytes.push_back(0x66);
        }
        if (short_address) {
            bytes.push_back(0x67);
        }
        if (chance(2)) {
            bytes.push_back(0x48);
        }
        bytes.push_back(static_cast<std::uint8_t>(opcode));
        const std::uint64_t target = NativeCpu::device + random(8192 - 8);
        for (unsigned at = 0; at < (short_address ? 4 : 8); ++at) {
            bytes.push_back(static_cast<std::uint8_t>(target >> (8 * at)));
        }
        compare(bytes, random_registers(), target, 0, "moffs");
    }
}

TEST_F(Native, Strings) {
    for (const unsigned opcode : {0xa4U, 0xaaU, 0xacU, 0xaeU, 0xa6U}) {
        for (unsigned i = 0; i < 2 * rounds && !HasFatalFailure(); ++i) {
            fill_memory();
            auto registers = random_registers();
            const bool compares = opcode == 0xae || opcode == 0xa6;
            if (compares && chance(2)) {
                // Equal elements, so that repetition goes on.
                std::memset(NativeCpu::device_memory(), 0x5a, 8192);
                std::memset(NativeCpu::stack_memory(), 0x5a, 8192);
                registers.gpr[0] = 0x5a5a'5a5a'5a5a'5a5a;
            }
            const bool to_device = chance(2);
            const auto place = [this](std::uint64_t area) {
                return area + 512 + random(8192 - 1024);
            };
            registers.gpr[6] = place(to_device ? NativeCpu::stack : NativeCpu::device);
            registers.gpr[7] = place(to_device ? NativeCpu::device : NativeCpu::stack);
            if (opcode == 0xaa || opcode == 0xae) {
                registers.gpr[7] = place(NativeCpu::device);
            } else if (opcode == 0xac) {
                registers.gpr[6] = place(NativeCpu::device);
            }
            registers.gpr[1] = 1 + random(24);
            registers.rflags |= chance(2) ? rflags::df : 0;
            std::vector<std::uint8_t> bytes;
            if (chance(4)) {
                bytes.push_back(0x66);
            }
            if (chance(4)) {
                bytes.push_back(0x67);
                for (const unsigned reg : {1U, 6U, 7U}) {
                    registers.gpr[reg] |= random(16) << 60;
                }
            } else if (chance(8)) {
                registers.gpr[1] = 0;
            }
            const auto repeat = random(3);
            if (repeat != 0) {
                bytes.push_back(repeat == 1 ? 0xf3 : 0xf2);
            } else if (registers.gpr[1] == 0) {
                registers.gpr[1] = generator();
            }
            if (chance(3)) {
                bytes.push_back(0x48);
            }
            bytes.push_back(static_cast<std::uint8_t>(opcode + random(2)));
            const bool target_first =
                opcode == 0xaa || opcode == 0xae || (opcode != 0xac && to_device);
            compare(bytes, registers, registers.gpr[target_first ? 7 : 6] & 0xffff'ffff, 0,
                    "string");
        }
    }
}

}  // namespace
}  // namespace margay::vmm::test

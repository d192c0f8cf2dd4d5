#include "tests/unit/emulator/native_cpu.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace margay::vmm::test {

namespace {

void* map(std::uint64_t address, std::size_t bytes, int protection) {
    void* const wanted = reinterpret_cast<void*>(address);
    void* const got =
        mmap(wanted, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != wanted) {
        std::perror("mmap");
        std::abort();
    }
    return got;
}

// In the code page: three saved words, then the code.
constexpr std::uint64_t saved_rsp = NativeCpu::code;
constexpr std::uint64_t saved_registers = NativeCpu::code + 8;
constexpr std::uint64_t saved_rdi = NativeCpu::code + 16;
constexpr std::size_t entry_offset = 64;
constexpr std::size_t instruction_offset = 512;
constexpr int rflags_offset = 16 * 8;

class Assembler {
  public:
    explicit Assembler(std::uint8_t* at) : at_{at} {}

    void bytes(std::initializer_list<unsigned> values) {
        for (const unsigned value : values) {
            *at_++ = static_cast<std::uint8_t>(value);
        }
    }
    void word(std::uint32_t value) {
        std::memcpy(at_, &value, 4);
        at_ += 4;
    }
    /// mov reg, [rdi + n] (0x8b) or mov [rdi + n], reg (0x89)
    void field(unsigned opcode, unsigned reg, int offset) {
        bytes({0x48U | (reg >> 3) << 2, opcode, 0x80U | (reg & 7) << 3 | 7});
        word(static_cast<std::uint32_t>(offset));
    }
    /// The same with an absolute 32-bit address.
    void absolute(unsigned opcode, unsigned reg, std::uint64_t address) {
        bytes({0x48U | (reg >> 3) << 2, opcode, 0x04U | (reg & 7) << 3, 0x25});
        word(static_cast<std::uint32_t>(address));
    }
    std::uint8_t* here() const { return at_; }

  private:
    std::uint8_t* at_;
};

constexpr unsigned load = 0x8b, store = 0x89, rax = 0, rsp = 4, rdi = 7;

}  // namespace

NativeCpu::NativeCpu() {
    auto* const page =
        static_cast<std::uint8_t*>(map(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    map(device, 8192, PROT_READ | PROT_WRITE);
    map(stack, 8192, PROT_READ | PROT_WRITE);
    entry_ = page + entry_offset;
    Assembler a{entry_};
    a.bytes(
        {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push what is callee-saved
    a.absolute(store, rsp, saved_rsp);
    a.absolute(store, rdi, saved_registers);
    a.bytes({0xff, 0xb7});  // push [rdi + rflags]
    a.word(rflags_offset);
    a.bytes({0x9d});  // popfq
    for (unsigned reg = 0; reg < 16; ++reg) {
        if (reg != rdi) {
            a.field(load, reg, static_cast<int>(reg * 8));
        }
    }
    a.field(load, rdi, rdi * 8);
    a.bytes({0xe9});  // jmp
    a.word(static_cast<std::uint32_t>(page + instruction_offset - (a.here() + 4)));
}

NativeCpu::~NativeCpu() {
    munmap(reinterpret_cast<void*>(code), 4096);
    munmap(device_memory(), 8192);
    munmap(stack_memory(), 8192);
}

std::uint64_t NativeCpu::place(std::span<const std::uint8_t> instruction) {
    auto* const at = entry_ - entry_offset + instruction_offset;
    std::memcpy(at, instruction.data(), instruction.size());
    Assembler a{at + instruction.size()};
    a.absolute(store, rdi, saved_rdi);
    a.absolute(load, rdi, saved_registers);
    for (unsigned reg = 0; reg < 16; ++reg) {
        if (reg != rdi) {
            a.field(store, reg, static_cast<int>(reg * 8));
        }
    }
    a.absolute(load, rsp, saved_rsp);
    a.bytes({0x9c, 0x8f, 0x87});  // pushfq, pop [rdi + rflags]
    a.word(rflags_offset);
    a.absolute(load, rax, saved_rdi);
    a.field(store, rax, rdi * 8);
    a.bytes({0xfc, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});
    return code + instruction_offset;
}

void NativeCpu::run(Registers& registers) {
    void (*function)(Registers*);
    std::memcpy(&function, &entry_, sizeof(function));
    function(&registers);
}

}  // namespace margay::vmm::test

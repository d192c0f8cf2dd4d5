#include "ukernel/arch/x86_64/descriptors.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/offsets.hpp"
#include "ukernel/core/core.hpp"

extern "C" char interrupt_stubs[], syscall_entry[];

namespace margay {

namespace {

struct IdtEntry {
    std::uint64_t low, high;
};
IdtEntry idt[256];

struct __attribute__((packed)) TablePointer {
    std::uint16_t limit;
    std::uint64_t base;
};

void fill_idt() {
    for (unsigned v = 0; v < 256; ++v) {
        const std::uint64_t a = reinterpret_cast<std::uint64_t>(interrupt_stubs) + v * 16;
        const std::uint64_t ist = v == 2 ? 1 : v == 8 ? 2 : v == 18 ? 3 : 0;
        // Present, 64-bit interrupt gate. No gate is for user level: INT n faults.
        idt[v].low = (a & 0xffff) | SEL_KERNEL_CODE << 16 | ist << 32 | 0x8eull << 40 |
                     (a >> 16 & 0xffff) << 48;
        idt[v].high = a >> 32;
    }
}

}  // namespace

void load_descriptors(Descriptors& d, Core& core, const std::uint64_t ist_stacks[3]) {
    if (idt[0].low == 0) fill_idt();
    d.gdt[0] = 0;
    d.gdt[1] = 0x00af9b000000ffff;  // kernel code
    d.gdt[2] = 0x00cf93000000ffff;  // kernel data
    d.gdt[3] = 0x00cff3000000ffff;  // user data; SYSRET wants it before user code
    d.gdt[4] = 0x00affb000000ffff;  // user code
    d.tss = {};
    d.tss.rsp[0] = core.stack_top;
    for (unsigned i = 0; i < 3; ++i) d.tss.ist[i] = ist_stacks[i];
    d.tss.io_map_base = sizeof(TaskState);  // no port for user level
    const auto base = reinterpret_cast<std::uint64_t>(&d.tss);
    d.gdt[5] = (sizeof(TaskState) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
               (base >> 24 & 0xff) << 56;
    d.gdt[6] = base >> 32;

    const TablePointer gdt_pointer{sizeof(d.gdt) - 1, reinterpret_cast<std::uint64_t>(d.gdt)};
    const TablePointer idt_pointer{sizeof(idt) - 1, reinterpret_cast<std::uint64_t>(idt)};
    asm volatile("lgdt %0" : : "m"(gdt_pointer));
    asm volatile("lidt %0" : : "m"(idt_pointer));
    asm volatile("pushq %0\n\tleaq 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:"
                 :
                 : "i"(SEL_KERNEL_CODE)
                 : "rax", "memory");
    asm volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %0, %%ss\n\tmov %1, %%fs\n\tmov %1, %%gs"
                 :
                 : "r"(SEL_KERNEL_DATA), "r"(0));
    asm volatile("ltr %w0" : : "r"(SEL_TSS));
    cpu::write_msr(cpu::msr::gs_base, reinterpret_cast<std::uint64_t>(&core));
    cpu::write_msr(cpu::msr::kernel_gs_base, 0);

    cpu::write_msr(cpu::msr::efer, cpu::read_msr(cpu::msr::efer) | cpu::efer::sce | cpu::efer::nxe);
    // SYSCALL: CS and SS from bits 47:32; SYSRET: CS = base + 16, SS = base + 8.
    cpu::write_msr(cpu::msr::star, static_cast<std::uint64_t>(SEL_KERNEL_CODE) << 32 |
                                       static_cast<std::uint64_t>(SEL_USER_DATA - 8) << 48);
    cpu::write_msr(cpu::msr::lstar, reinterpret_cast<std::uint64_t>(syscall_entry));
    // Cleared on entry: TF IF DF IOPL NT RF AC ID.
    cpu::write_msr(cpu::msr::sfmask, 0x257700);
}

}  // namespace margay

// Registers that VMRUN does not switch: YMM, XCR0, DR0 to DR3, TSC_AUX. The guest fills them with values of its own,
// and looks after each of many exits whether they are still there; another guest on the core does the same. It
// powers off if they were, and dies of a triple fault otherwise.
// Options on the command line:
//
//   id=N       what the values are made of
//   rounds=N   how often it looks
//   xcr0=N     what it enables (default 7)
#include "support/options.hpp"
#include "tests/guests/guest.hpp"

using namespace margay;
using namespace margay::guest;

namespace {

constexpr std::uint32_t tsc_aux = 0xc0000103;

alignas(32) std::uint64_t wanted[64], seen[64];  // YMM0 to YMM15
unsigned wrong = 0;

void check(const char* what, std::uint64_t is, std::uint64_t should) {
    if (is == should) return;
    if (++wrong <= 10) say("WRONG {}: {x}, not {x}\n", what, is, should);
}

void write_xcr0(std::uint64_t v) {
    asm volatile("xsetbv" : : "c"(0), "a"(static_cast<std::uint32_t>(v)), "d"(0));
}
std::uint64_t read_xcr0() {
    std::uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

#define MARGAY_EACH(F)                                                                             \
    F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
#define MARGAY_LOAD(n)      "vmovdqa " #n "*32(%0), %%ymm" #n "\n\t"
#define MARGAY_STORE(n)     "vmovdqa %%ymm" #n ", " #n "*32(%0)\n\t"
#define MARGAY_LOAD_LOW(n)  "movdqa " #n "*32(%0), %%xmm" #n "\n\t"
#define MARGAY_STORE_LOW(n) "movdqa %%xmm" #n ", " #n "*32(%0)\n\t"

void load(bool wide) {
    if (wide)
        asm volatile(MARGAY_EACH(MARGAY_LOAD) : : "r"(wanted) : "memory");
    else
        asm volatile(MARGAY_EACH(MARGAY_LOAD_LOW) : : "r"(wanted) : "memory");
}
void store(bool wide) {
    if (wide)
        asm volatile(MARGAY_EACH(MARGAY_STORE) : : "r"(seen) : "memory");
    else
        asm volatile(MARGAY_EACH(MARGAY_STORE_LOW) : : "r"(seen) : "memory");
}

struct DebugAddresses {
    std::uint64_t dr[4];

    static DebugAddresses now() {
        DebugAddresses d;
        asm volatile("mov %%db0, %0\n\tmov %%db1, %1\n\tmov %%db2, %2\n\tmov %%db3, %3"
                     : "=r"(d.dr[0]), "=r"(d.dr[1]), "=r"(d.dr[2]), "=r"(d.dr[3]));
        return d;
    }
    void set() const {
        asm volatile("mov %0, %%db0\n\tmov %1, %%db1\n\tmov %2, %%db2\n\tmov %3, %%db3"
                     :
                     : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]));
    }
};

// CPUID follows CR4 and XCR0.
void enable(std::uint64_t xcr0) {
    std::uint64_t cr0, cr4;
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" : : "r"((cr0 & ~0xcull) | 2));
    check("OSXSAVE before", cpuid(1).ecx >> 27 & 1, 0);
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    asm volatile("mov %0, %%cr4" : : "r"(cr4 | 1 << 9 | 1 << 18));
    check("OSXSAVE", cpuid(1).ecx >> 27 & 1, 1);
    check("XCR0 at reset", read_xcr0(), 1);
    check("size with XCR0 1", cpuid(0xd, 0).ebx, 576);
    write_xcr0(xcr0);
    check("size", cpuid(0xd, 0).ebx, (xcr0 & 4) != 0 ? 832 : 576);
}

}  // namespace

void guest_main(void* boot_parameters) {
    const std::string_view line = command_line_of(boot_parameters);
    const std::uint64_t id = find_number(line, "id").value_or(1),
                        rounds = find_number(line, "rounds").value_or(1000),
                        xcr0 = find_number(line, "xcr0").value_or(7);
    if ((cpuid(1).ecx >> 28 & 1) == 0 || (cpuid(0xd).eax & xcr0) != xcr0) {
        say("lazy: no AVX\n");
        power_off();
    }
    enable(xcr0);
    const bool wide = (xcr0 & 4) != 0;
    for (unsigned i = 0; i < 64; ++i) wanted[i] = id << 32 | i;
    DebugAddresses debug;
    for (unsigned i = 0; i < 4; ++i) debug.dr[i] = id << 16 | i << 4;
    load(wide);
    debug.set();
    write_msr(tsc_aux, id);
    say("lazy {}: begins\n", id);
    std::uint64_t done = 0;
    for (; done < rounds; ++done) {
        out8(0x3ff, 0x55);  // UART scratch register
        store(wide);
        for (unsigned i = 0; i < 64; ++i)
            if (wide || i % 4 < 2) check("vector register", seen[i], wanted[i]);
        const DebugAddresses d = DebugAddresses::now();
        for (unsigned i = 0; i < 4; ++i) check("DR", d.dr[i], debug.dr[i]);
        std::uint32_t aux, low, high;
        asm volatile("rdtscp" : "=c"(aux), "=a"(low), "=d"(high));
        check("RDTSCP", aux, id);
        check("XCR0", read_xcr0(), xcr0);
    }
    say("lazy {}: {} wrong\n", id, wrong);
    if (wrong != 0) asm volatile("ud2");
    power_off();
}

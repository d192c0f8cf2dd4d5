// Drives the functions that it was given, an NVMe disk and QEMU's `edu`, in all the ways in which nobody should, and says what it
// has found. By its command line: `neighbour` watches its own RAM instead until its power
// button is pressed, and fails if that has changed; `storm` has the
// disk fail without end; `messages` has it write to where interrupts come from, too.
#include "tests/guests/check.hpp"
#include "tests/guests/idt.hpp"
#include "tests/guests/nvme.hpp"

using namespace margay::guest;

namespace {

using Outcome = Nvme::Outcome;

constexpr std::uint64_t mark = 0x5ca1'ab1e'0000'0000, mib = 1 << 20, gib = 1 << 30;
constexpr std::uint64_t page = Nvme::page;
constexpr std::uint64_t ram_end = 32 * mib;  // as the manifest has it
constexpr std::uint64_t disk_at = 0xc000'0000, edu_at = 0xc100'0000;
constexpr std::uint64_t own = 16 * mib;        // pages of RAM that nobody else uses
constexpr std::uint64_t a_while = 20'000'000;  // ticks
constexpr unsigned vector = 0x51, everybody = 0xf1, nmi = 2;

constinit const Function disk_function{2}, edu_function{3};
constinit Nvme disk{disk_at};
volatile unsigned interrupts = 0;

[[gnu::naked]] void on_message() {
    asm volatile("push %%rax\n\t"
                 "push %%rcx\n\t"
                 "push %%rdx\n\t"
                 "incl %0\n\t"
                 "mov $0x80b, %%ecx\n\t"  // x2APIC EOI
                 "xor %%eax, %%eax\n\t"
                 "xor %%edx, %%edx\n\t"
                 "wrmsr\n\t"
                 "pop %%rdx\n\t"
                 "pop %%rcx\n\t"
                 "pop %%rax\n\t"
                 "iretq"
                 : "+m"(interrupts));
}
[[gnu::naked]] void on_nmi() { asm volatile("iretq"); }

void touch(std::uint64_t address) {
    [[maybe_unused]] const std::uint32_t got = at<std::uint32_t>(address);
}
void fill(std::uint64_t base) {
    for (std::uint64_t i = 0; i < page; i += 8) at<std::uint64_t>(base + i) = mark | base | i;
}
bool is_filled(std::uint64_t base) {
    for (std::uint64_t i = 0; i < page; i += 8)
        if (at<std::uint64_t>(base + i) != (mark | base | i)) return false;
    return true;
}

// The disk as a driver leaves it, whatever was done to it.
void restore() {
    disk_function.write(disk_function.capability(0x10) + 8, 1 << 15);
    disk_function.place(disk_at);
    disk.start();
}
bool works() {
    fill(own);
    fill(own + page);
    disk.identify(own);
    return disk.await() == Outcome::done && at<std::uint16_t>(own) == 0x1b36 &&
           is_filled(own + page);
}

// Without an IOMMU each of these would be written to: other guests, the node, and what is no RAM.
void reach_beyond(bool messages) {
    // The model does not say what became of them: the neighbour looks, and the node's log.
    const auto try_at = [](std::uint64_t to) {
        disk.identify(to);
        (void)disk.await();
    };
    for (std::uint64_t to = ram_end; to < gib; to += mib) try_at(to);
    for (const std::uint64_t to :
         {ram_end + page, ram_end + 2 * mib - page, disk_at, edu_at, 0xb000'0000ul, 0xfec0'0000ul,
          0xfed8'0000ul, 0xfed9'0000ul, 4 * gib, 1ul << 39, (1ul << 46) - page, 1ul << 48,
          ~0ul - page + 1})
        try_at(to);
    if (messages) try_at(0xfee0'0000);
    fill(ram_end - page);
    disk.identify(ram_end - page / 2, ram_end);
    (void)disk.await();
    check("what begins within its RAM is written there",
          at<std::uint16_t>(ram_end - page / 2) == 0x1b36);
    check("it works after it wrote elsewhere", works());
}

// Copies of 4095 bytes, a tenth of a second each.
void copy(std::uint64_t from, std::uint64_t to, unsigned command) {
    at<std::uint64_t>(edu_at + 0x80) = from;
    at<std::uint64_t>(edu_at + 0x88) = to;
    at<std::uint64_t>(edu_at + 0x90) = page - 1;
    at<std::uint32_t>(edu_at + 0x98) = command;
    while ((at<std::uint32_t>(edu_at + 0x98) & 1) != 0) asm volatile("pause");
}
void copy_beyond() {
    constexpr std::uint64_t buffer = 0x40000;
    fill(own);
    copy(own, buffer, 1);
    copy(buffer, own + page, 3);
    check("what it copies arrives", at<std::uint64_t>(own + page + 8) == (mark | own | 8));
    unsigned read = 0;
    for (const std::uint64_t from : {ram_end, 64 * mib, 128 * mib, 256 * mib}) {
        copy(from, buffer, 1);
        copy(buffer, own + page, 3);
        // The neighbour's marks carry its addresses.
        for (std::uint64_t i = 0; i + 8 < page; i += 8) {
            const std::uint64_t got = at<std::uint64_t>(own + page + i);
            read += got != (mark | own | i) && got != 0;
        }
        copy(buffer, from, 3);
    }
    check("nothing beyond its RAM is read", read == 0);
}

void move_bars() {
    fill(own + 2 * page);
    disk_function.place(own + 2 * page);
    touch(own + 2 * page);
    disk_function.place(disk_at);
    check("a BAR over RAM leaves it", is_filled(own + 2 * page));
    for (const std::uint64_t where : {0xfee0'0000ul, 0xfec0'0000ul, 0xfffc'0000ul, edu_at}) {
        disk_function.place(where);
        at<std::uint32_t>(where + 0x30) = at<std::uint32_t>(where + 0x30);
        at<std::uint64_t>(where + 0x2001) = ~0ul;
    }
    edu_function.place(disk_at);
    touch(disk_at);
    edu_function.place(edu_at);
    check("its local APIC is where it was", (read_msr(0x803) & 0xff) >= 0x10);
    restore();
    check("it works after its BAR was everywhere", works());
    check("the other one as well", at<std::uint32_t>(edu_at) == 0x010000ed);
    // While it writes.
    for (unsigned i = 0; i < 50; ++i) {
        disk.identify(own);
        disk_function.place(disk_at + mib);
        touch(disk_at + mib);
        disk_function.place(disk_at);
        if (disk.await(10 * a_while) == Outcome::silent) disk.start();
    }
    check("it works after it was moved while it wrote", works());
}

void program_message(std::uint64_t address, std::uint32_t data) {
    const std::uint64_t table = disk_at + 0x2000;
    at<std::uint32_t>(table) = static_cast<std::uint32_t>(address);
    at<std::uint32_t>(table + 4) = static_cast<std::uint32_t>(address >> 32);
    at<std::uint32_t>(table + 8) = data;
    at<std::uint32_t>(table + 12) = 0;
}
// As drivers do: the emulator's model sends no messages of queues that were made before it had been told to use MSI-X.
void turn_messages_on() {
    disk_function.write(disk_function.capability(0x11), 1u << 31);
    disk.start();
}
bool interrupts_work() {
    program_message(0xfee0'0000, vector);
    const unsigned before = interrupts;
    if (!works()) return false;
    while (interrupts == before) asm volatile("pause");
    return true;
}
void write_table() {
    turn_messages_on();
    set_gate(vector, on_message);
    set_gate(everybody, on_message);
    set_gate(nmi, on_nmi);
    load_idt();
    write_msr(0x80f, 0x1ff);
    asm volatile("sti");
    check("its message comes", interrupts_work());
    const std::uint64_t table = disk_at + 0x2000;
    for (std::uint64_t i = 0; i < 64; ++i) {
        at<std::uint64_t>(table + 8 * i) = 0xfee0'0000'0000'0000 >> i;
        at<std::uint64_t>(table + 7 * i + 1) = ~0ul;
        at<std::uint32_t>(table + 2 + 5 * i) = 0xfee0'0000;
        at<std::uint16_t>(table + 3 * i + 1) = 0x4fe;
        at<std::uint8_t>(table + i) = 0xfe;
        at<std::uint64_t>(table + page - 4) = ~0ul;  // and of the pending bits
    }
    restore();
    turn_messages_on();
    check("its message comes after a table of nonsense", interrupts_work());
    struct Message {
        std::uint64_t address;
        std::uint32_t data;
    };
    for (const auto& [address, data] : {Message{0xfee0'0000, 0x400},
                                        {0xfee0'0000, 0x200},
                                        {0xfee0'0000, 0x700},
                                        {0xfee0'0000, 5},
                                        {0xfee0'0000, 0x600},
                                        {0xfee0'5000, 0x30},
                                        {0xfeef'f00c, everybody},
                                        {0x1234'5000, 0xf1},
                                        {~0xfffful, 0x51},
                                        {0, ~0u}}) {
        program_message(address, data);
        check("it works with a message of nonsense", works());
    }
    check("its message comes after messages of nonsense", interrupts_work());
    asm volatile("cli");
}

void toggle() {
    for (unsigned i = 0; i < 20; ++i) {
        disk.identify(own);
        disk_function.command(Function::memory);
        disk_function.command(Function::memory | Function::master);
        restore();
    }
    disk_function.command(Function::memory);
    fill(own);
    disk.identify(own);
    check("it is silent if it may not begin",
          disk.await(a_while) == Outcome::silent && is_filled(own));
    disk_function.command(Function::memory | Function::master);
    restore();
    check("it works after that", works());

    const unsigned power = disk_function.capability(1) + 4;
    disk_function.write(power, 3);
    check("its BAR is nowhere while it sleeps", at<std::uint32_t>(disk_at + 8) == ~0u);
    at<std::uint32_t>(disk_at + 0x14) = 0;
    disk_function.write(power, 0);
    check("it works when it wakes", works());
    for (unsigned i = 0; i < 10; ++i) {
        disk.identify(own);
        restore();
    }
    check("it works after resets", works());
}

void write_configuration() {
    std::uint64_t state = 88172645463325252;
    const auto random = [&state] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return static_cast<std::uint32_t>(state);
    };
    for (unsigned i = 0; i < 3000; ++i) {
        // Each tenth to its own.
        const std::uint32_t select = i % 10 == 0
                                         ? 0x80000000 | (2 + i / 10 % 2) << 11 | (random() & 0xfc)
                                         : 0x80000000 | random();
        out32(0xcf8, select);
        switch (random() % 3) {
        case 0:
            out8(static_cast<std::uint16_t>(0xcfc + random() % 4),
                 static_cast<std::uint8_t>(random()));
            break;
        case 1:
            out16(static_cast<std::uint16_t>(0xcfc + random() % 2 * 2),
                  static_cast<std::uint16_t>(random()));
            break;
        default: out32(0xcfc, random()); break;
        }
        (void)in32(0xcfc);
    }
    edu_function.place(edu_at);
    restore();
    check("it works after its configuration was nonsense", works());
}

[[noreturn]] void storm() {
    disk.start(ram_end);
    disk.identify(own);
    for (unsigned n = 0;; ++n) {
        disk.ring();
        if (n == 1000) say("the storm goes\n");
    }
}

// Where RAM ends, as the boot protocol tells it.
std::uint64_t end_of_ram(const char* boot_parameters) {
    constexpr unsigned count_at = 0x1e8, ranges_at = 0x2d0, ram = 1;
    struct [[gnu::packed]] Range {
        std::uint64_t base, size;
        std::uint32_t type;
    } r;
    std::uint64_t end = 0;
    for (int i = 0; i < boot_parameters[count_at]; ++i) {
        __builtin_memcpy(&r, boot_parameters + ranges_at + i * static_cast<int>(sizeof(r)),
                         sizeof(r));
        if (r.type == ram) end = r.base + r.size;
    }
    return end & ~(page - 1);
}

// Its RAM beyond what the program itself takes stays what it is.
[[noreturn]] void watch(const char* boot_parameters) {
    constexpr std::uint16_t status = 0x600, enable = 0x602, button = 1 << 8;
    constexpr std::uint64_t first = 8 * mib;
    const std::uint64_t last = end_of_ram(boot_parameters);
    for (std::uint64_t i = first; i < last; i += page) fill(i);
    out16(enable, button);
    unsigned rounds = 0;
    std::uint64_t wrong = 0;
    while ((in8(status + 1) & button >> 8) == 0) {
        for (std::uint64_t i = first; i < last; i += page) wrong += !is_filled(i);
        ++rounds;
    }
    if (wrong == 0 && rounds != 0) power_off();
    // Which ends it as failed.
    for (;;) asm volatile("cli; hlt");
}

}  // namespace

void guest_main(void* boot_parameters) {
    const std::string_view what = command_line_of(boot_parameters);
    if (what == "neighbour") watch(static_cast<const char*>(boot_parameters));
    switch_to_x2apic();
    disk_function.place(disk_at);
    disk.start();
    check("it works", works());
    if (what == "storm") storm();
    edu_function.place(edu_at);
    reach_beyond(what == "messages");
    copy_beyond();
    move_bars();
    write_table();
    toggle();
    write_configuration();
    reach_beyond(false);
    say("driver checks: {} failed\n", failures);
    power_off();
}

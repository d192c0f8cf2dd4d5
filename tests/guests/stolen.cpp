// Two vCPUs that share one core and never sleep: how long each waits for it, the mark on the one that has lost it, and what
// the other asks of it by that (KVM's steal time and TLB flush, Linux Documentation/virt/kvm/x86/msr.rst).
#include "tests/guests/check.hpp"
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"
#include "tests/guests/second_cpu.hpp"

using namespace margay::guest;

namespace {

constexpr std::uint32_t msr_steal_time = 0x4b564d03;
constexpr std::uint8_t mark = 1, flush = 2;

struct alignas(64) StealPage {
    std::uint64_t steal;  // ns
    std::uint32_t version;
    std::uint32_t flags;
    std::uint8_t preempted;
};
volatile StealPage steal_of[2];

alignas(16) std::byte stack[16384];

// A page that both look at, by page tables of its own.
constexpr std::uint64_t window = 0xffff'8000'0000'0000;
alignas(4096) std::uint64_t tables[3][512], frames[2][512];
const volatile std::uint64_t& seen_there = *reinterpret_cast<const volatile std::uint64_t*>(window);

// Of the second vCPU.
volatile std::uint64_t turns = 0, last_seen = 0, marked_and_running = 0;

volatile unsigned general_protections = 0;
// Skips a WRMSR.
[[gnu::naked]] void on_general_protection() {
    asm volatile("incl %0\n\tadd $8, %%rsp\n\taddq $2, (%%rsp)\n\tiretq"
                 : "+m"(general_protections));
}

void map(unsigned frame) {
    __atomic_store_n(&tables[2][0], reinterpret_cast<std::uint64_t>(frames[frame]) | 3,
                     __ATOMIC_SEQ_CST);
}

void make_window() {
    for (unsigned i = 0; i < 2; ++i) frames[i][0] = i + 1;
    map(0);
    tables[1][0] = reinterpret_cast<std::uint64_t>(tables[2]) | 3;
    tables[0][0] = reinterpret_cast<std::uint64_t>(tables[1]) | 3;
    std::uint64_t cr3;
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    reinterpret_cast<std::uint64_t*>(cr3 & ~0xfffull)[256] =
        reinterpret_cast<std::uint64_t>(tables[0]) | 3;
    asm volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

void use_steal_page(unsigned cpu) {
    write_msr(msr_steal_time, reinterpret_cast<std::uint64_t>(&steal_of[cpu]) | 1);
}

void second() {
    use_steal_page(1);
    for (;;) {
        if (steal_of[1].preempted != 0) marked_and_running = marked_and_running + 1;
        last_seen = seen_there;
        turns = turns + 1;
    }
}

// The other has run since.
void let_it_run() {
    const std::uint64_t before = turns;
    while (turns == before) asm volatile("pause");
}

bool ask_for_flush() {
    std::uint8_t expected = mark;
    return __atomic_compare_exchange_n(&steal_of[1].preempted, &expected,
                                       static_cast<std::uint8_t>(mark | flush), false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void check_marks() {
    bool marked = true, new_one = true, forgotten = true;
    unsigned asked = 0;
    for (unsigned round = 0; round < 12; ++round) {
        let_it_run();
        marked = marked && steal_of[1].preempted == mark;
        const unsigned frame = (round + 1) % 2;
        map(frame);
        if (!ask_for_flush()) continue;
        ++asked;
        let_it_run();
        new_one = new_one && last_seen == frame + 1;
        forgotten = forgotten && steal_of[1].preempted == mark;
    }
    check("the vCPU that lost the core is marked", marked);
    check("a flush is asked for each time", asked == 12);
    check("its translation is the new one then", new_one);
    check("the request is gone then", forgotten);
    check("no vCPU is marked while it runs", marked_and_running == 0 && steal_of[0].preempted == 0);
}

// Both compute: about half the time is the other's. Turns are 10 ms.
void check_time() {
    constexpr std::uint64_t span_ms = 300;
    const std::uint64_t ticks = span_ms * cpuid(0x40000010).eax;
    const std::uint64_t before[2] = {steal_of[0].steal, steal_of[1].steal};
    const std::uint64_t begin = rdtsc();
    while (rdtsc() - begin < ticks) {}
    // Each has been told: the first by its recall at the latest.
    let_it_run();
    let_it_run();
    for (unsigned i = 0; i < 2; ++i) {
        const std::uint64_t percent = (steal_of[i].steal - before[i]) / (span_ms * 10'000);
        say("stolen from vCPU {}: {} percent\n", i, percent);
        check("about half the time is stolen", percent >= 35 && percent <= 65);
        check("the version is even", steal_of[i].version != 0 && steal_of[i].version % 2 == 0);
    }
}

}  // namespace

void guest_main(void*) {
    set_gate(13, on_general_protection);
    load_idt();
    const std::uint32_t features = cpuid(0x40000001).eax;
    check("steal time and TLB flush are offered", (features >> 5 & features >> 9 & 1) != 0);
    write_msr(msr_steal_time, reinterpret_cast<std::uint64_t>(&steal_of[0]) | 3);
    check("reserved bits are refused", general_protections == 1 && read_msr(msr_steal_time) == 0);
    make_window();
    switch_to_x2apic();
    use_steal_page(0);
    start_second_cpu(stack + sizeof(stack), second);
    let_it_run();
    check_marks();
    check_time();
    say("steal checks: {} failed\n", failures);
    power_off();
}

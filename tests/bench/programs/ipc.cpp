// IPC round trips between two domains on one core: a client here, a server in ipc_server.cpp.
//
// 1000 round trips to warm up, 10 000 measured; the server waits each time. Up to six words travel in
// registers. More lie in memory that both share: each side copies what it received out of it, so that
// the other can no longer change it. Writing the payload is not counted, as it is not for others.
#include "libipc/start.hpp"
#include "servers/init/program.hpp"
#include "tests/support.hpp"

using namespace margay;

namespace {

constexpr unsigned warm_up = 1000;
constexpr unsigned repeats = 10000;
constexpr std::uint64_t shared_address = 0x3000'0000;

std::uint64_t private_copy[64];
const std::uint64_t* shared;

void copy_words(std::uint64_t words) {
    const void* from = shared;
    void* to = private_copy;
    asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(words) : : "memory");
}

template <unsigned words>
std::uint64_t measure(Slot portal) {
    std::uint64_t begin = 0;
    for (unsigned i = 0; i < warm_up + repeats; ++i) {
        if (i == warm_up) begin = rdtsc();
        std::uint64_t rax = static_cast<std::uint64_t>(Syscall::call);
        std::uint64_t rdi = portal, rsi = words, rdx = i;
        register std::uint64_t r8 asm("r8") = 1;
        register std::uint64_t r9 asm("r9") = 2;
        register std::uint64_t r10 asm("r10") = 3;
        register std::uint64_t r12 asm("r12") = 4;
        // Words that are not used are not loaded.
        if constexpr (words == 0 || words > 6) {
            asm volatile("push %%rbp\n\tsyscall\n\tpop %%rbp"
                         : "+a"(rax), "+D"(rdi), "+S"(rsi)
                         :
                         : "rdx", "r8", "r9", "r10", "r12", "r13", "rcx", "r11", "rbx", "r14",
                           "r15", "memory");
            if constexpr (words > 6) copy_words(words);
        } else if constexpr (words == 4) {
            asm volatile("push %%rbp\n\tsyscall\n\tpop %%rbp"
                         : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r10)
                         :
                         : "r12", "r13", "rcx", "r11", "rbx", "r14", "r15", "memory");
        } else {
            asm volatile("push %%rbp\n\tsyscall\n\tpop %%rbp"
                         : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9),
                           "+r"(r10), "+r"(r12)
                         :
                         : "r13", "rcx", "r11", "rbx", "r14", "r15", "memory");
        }
        if (rax != 0) test::die("call", static_cast<Status>(rax));
    }
    return rdtsc() - begin;
}

void report(const char* key, std::uint64_t ticks) {
    test::say(
        "bench: {} {} instructions {} {{\"cr3_writes\": 2, \"msr_writes\": 0, \"vmruns\": 0}\n",
        key, (ticks + repeats / 2) / repeats, repeats);
}

// 1000 times nop between two readings.
void calibrate() {
    const std::uint64_t begin = rdtsc();
    asm volatile(".rept 1000\n\tnop\n\t.endr");
    test::say("bench: calibration {} instructions 1\n", rdtsc() - begin);
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node node{*reinterpret_cast<const BootInfo*>(argument)};
    test::use_largest_extent(node);
    calibrate();
    init::ProgramOptions options;
    options.module = options.name = "ipc_server";
    options.priority = 32;
    static init::Program server{node, options};
    test::must(server.load(), "server");
    const Extent memory = test::must(node.allocate(page_size), "shared memory");
    shared = reinterpret_cast<const std::uint64_t*>(
        test::must(node.map_here(memory, map_right::read_write), "shared memory"));
    test::must(server.give_mapping("shared", memory, shared_address, map_right::read),
               "shared memory");
    test::must(server.make_thread(no_slot, 0), "server thread");
    const Extent storage = test::must(node.allocate(storage_small), "portal");
    const Slot portal = node.new_slot();
    test::must(create_portal(portal, storage.slot, server.thread(), init_slot::first_core),
               "portal");
    test::must(server.start(), "server start");

    report("ipc_round_trip_0w", measure<0>(portal));
    report("ipc_round_trip_4w", measure<4>(portal));
    report("ipc_round_trip_5w", measure<5>(portal));
    report("ipc_round_trip_32w", measure<32>(portal));
    report("ipc_round_trip_64w", measure<64>(portal));
    test::end(true);
}

#include "machine.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "guest.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/enter.hpp"
#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/core/cores.hpp"
#include "ukernel/core/epoch.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/kernel_tables.hpp"
#include "ukernel/object/device.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/sched/scheduler.hpp"

extern "C" [[noreturn]] void system_call(margay::Thread* thread);
extern "C" [[noreturn]] void vcpu_reply_wait(margay::Thread* handler, std::uint64_t label,
                                             std::uint64_t sequence, std::uint64_t dirty,
                                             std::uint64_t rax, std::uint64_t vector,
                                             std::uint64_t deadline);

namespace margay {

namespace machine {

State now;

namespace {

Core the_cores[cores];
unsigned this_core_id = 0;
std::uint64_t next_ram = 0, ram_end = 0;
int the_ram_file = -1;
Features the_features;
bool serving = false;
constexpr HostPhys kernel_root{0x5000};

void build() {
    the_ram_file = memfd_create("simulated RAM", MFD_CLOEXEC);
    if (ftruncate(the_ram_file, max_ram_bytes) != 0) std::abort();
    void* ram = mmap(nullptr, max_ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, the_ram_file, 0);
    if (ram == MAP_FAILED) std::abort();
    direct_map_base = reinterpret_cast<std::uint64_t>(ram) - ram_begin;
    static Core* room[cores];
    reserve_cores(room);
    for (Core& c : the_cores) register_core(c);
}

}  // namespace

Core& core(unsigned id) { return the_cores[id]; }

void switch_to(unsigned id) { this_core_id = id; }

void serve(unsigned id) {
    const unsigned before = this_core_id;
    this_core_id = id;
    now.kicked &= ~(1ull << id);
    the_cores[id].serve_work();
    // A core that was out of the kernel passes through it; one that waits in there does not.
    const std::uint64_t within = now.within;
    if (id != before && (within >> id & 1) == 0) epoch::pass();
    this_core_id = before;
}

void serve_kicks() {
    const std::uint64_t before = now.within;
    now.within |= 1ull << this_core_id;
    for (unsigned i = 0; i < cores; ++i) serve(i);
    now.within = before;
}

void enter_kernel(Thread& t) {
    const std::uint64_t* r = t.gpr;
    if (static_cast<Syscall>(r[gpr_rax]) == Syscall::reply_wait && t.caller != nullptr &&
        t.callers_wait == 0 && !t.caller->is_thread())
        vcpu_reply_wait(&t, r[gpr_rsi], r[gpr_rdx], r[gpr_r8], r[gpr_r9], r[gpr_r10], r[gpr_r12]);
    system_call(&t);
}

void fire_timer() {
    now.timer[this_core_id] = no_deadline;
    scheduler::serve_timer();
}

int ram_file() { return the_ram_file; }

void reset(std::uint64_t ram) {
    static const bool built = (build(), true);
    static_cast<void>(built);
    now = State{};
    this_core_id = 0;
    for (unsigned i = 0; i < cores; ++i) {
        Core& c = the_cores[i];
        c.ready.~RunQueue();
        new (&c.ready) RunQueue{};
        c.contexts = 0;
        c.flush_wanted = c.flush_done = 0;
        c.deadlines.clear();
        c.self = &c;
        c.current = nullptr;
        c.id = i;
        c.apic_id = i + 10;
        c.online = c.virtualization = true;
        c.budget = nullptr;
        c.reschedule = false;
        c.quantum_end = c.armed_for = no_deadline;
        c.lazy_owner = nullptr;
        c.last_guest = nullptr;
        c.device_messages = 0;
        c.stray_interrupts = c.nmis = c.machine_checks = 0;
        reset_backend(c);
        for (auto& m : c.messages) m = nullptr;
        c.mailbox = nullptr;
        c.remote = nullptr;
        c.cr3 = now.cr3[i] = kernel_root.value();
        now.timer[i] = no_deadline;
    }
    for (unsigned gsi = 0; gsi < max_gsi; ++gsi) {
        now.line_masked[gsi] = true;
        Irq::free_line(gsi);
    }
    for (unsigned r = 0; r < 65536; ++r) Device::free_function(static_cast<std::uint16_t>(r));
    now.tsc = 1'000'000;
    now.tsc_khz = 1000;
    // Rubbish: whoever reads memory before writing it will show.
    std::memset(direct<void>(HostPhys{ram_begin}), 0xa5, ram);
    next_ram = ram_begin;
    ram_end = ram_begin + ram;
}

HostPhys take_ram(std::uint64_t bytes) {
    const HostPhys p{next_ram};
    next_ram += align_up(bytes, page_size);
    if (next_ram > ram_end) throw Panic{"the simulated machine has no more RAM"};
    return p;
}

}  // namespace machine

using machine::now;

namespace cpu {

Core* this_core() { return &machine::the_cores[machine::this_core_id]; }
CpuidResult cpuid(std::uint32_t, std::uint32_t) { return {}; }
std::uint64_t read_msr(std::uint32_t index) {
    const auto found = now.msr.find(index);
    return found == now.msr.end() ? 0 : found->second;
}
void write_msr(std::uint32_t index, std::uint64_t value) { now.msr[index] = value; }
std::uint64_t rdtsc() { return now.tsc; }
void change(void* object, std::uint64_t offset, std::uint64_t by) {
    std::uint64_t number;
    std::memcpy(&number, static_cast<char*>(object) + offset, sizeof(number));
    number += by;
    std::memcpy(static_cast<char*>(object) + offset, &number, sizeof(number));
}
std::uint64_t read_cr0() { return 0; }
std::uint64_t read_cr2() { return now.cr2; }
std::uint64_t read_cr3() { return now.cr3[machine::this_core_id]; }
std::uint64_t read_cr4() { return cr4::pge; }
void write_cr0(std::uint64_t) {}
void write_cr3(std::uint64_t v) {
    now.cr3[machine::this_core_id] = v;
    ++now.cr3_writes[machine::this_core_id];
    if (now.on_cr3_write) now.on_cr3_write(machine::this_core_id);
}
// Every change of it drops all translations, those that are global too.
void write_cr4(std::uint64_t) {
    if (now.on_full_flush) now.on_full_flush(machine::this_core_id);
}
void invalidate_all_pcids() {
    if (now.on_full_flush) now.on_full_flush(machine::this_core_id);
}
void clear_x87_pointers() { now.x87_pointers_clear = true; }
void fxsave(std::uint8_t* image) { std::memcpy(image, now.fpu, sizeof(now.fpu)); }
void fxrstor(const std::uint8_t* image) {
    if (!now.x87_pointers_clear) throw machine::Panic{"x87 pointers reach the next guest"};
    now.x87_pointers_clear = false;
    std::memcpy(now.fpu, image, sizeof(now.fpu));
}
// In standard form. Parts that XCR0 or the caller leaves out stay as they are; those that the header does not name
// become their initial state.
void xsave(std::uint8_t* area, std::uint64_t parts) {
    if ((parts & ~now.xcr0) != 0) throw machine::Panic{"XSAVE of parts that are off"};
    std::memcpy(area, now.fpu, sizeof(now.fpu));
    for (const XsavePart& part : xsave_parts)
        if ((parts >> part.bit & 1) != 0)
            std::memcpy(area + now.xsave.offset[part.bit],
                        now.vector + now.xsave.offset[part.bit] - xsave_header - xsave_header_bytes,
                        part.size);
    std::memcpy(area + xsave_header, &parts, sizeof(parts));
}
void xrstor(const std::uint8_t* area, std::uint64_t parts) {
    if (!now.x87_pointers_clear) throw machine::Panic{"x87 pointers reach the next guest"};
    now.x87_pointers_clear = false;
    std::uint64_t header[xsave_header_bytes / 8];
    std::memcpy(header, area + xsave_header, sizeof(header));
    if ((header[0] & ~now.xcr0) != 0) throw machine::Panic{"#GP: XRSTOR of parts that are off"};
    for (unsigned i = 1; i < std::size(header); ++i)
        if (header[i] != 0) throw machine::Panic{"#GP: reserved bytes of an XSAVE header"};
    if ((area[26] | area[27]) != 0) throw machine::Panic{"#GP: reserved bits of MXCSR"};
    std::memcpy(now.fpu, area, sizeof(now.fpu));
    for (const XsavePart& part : xsave_parts) {
        std::uint8_t* const at =
            now.vector + now.xsave.offset[part.bit] - xsave_header - xsave_header_bytes;
        if ((parts >> part.bit & 1) == 0) continue;
        if ((header[0] >> part.bit & 1) != 0)
            std::memcpy(at, area + now.xsave.offset[part.bit], part.size);
        else
            std::memset(at, 0, part.size);
    }
}
std::uint64_t read_xcr0() { return now.xcr0; }
void write_xcr0(std::uint64_t v) {
    if (!xcr0::is_valid(v, now.xsave.supported)) throw machine::Panic{"#GP: XSETBV"};
    now.xcr0 = v;
}
void read_debug_addresses(std::uint64_t (&dr)[4]) { std::memcpy(dr, now.dr, sizeof(dr)); }
void write_debug_addresses(const std::uint64_t (&dr)[4]) { std::memcpy(now.dr, dr, sizeof(dr)); }
// A core that spins would see the others come.
void pause() {
    if (now.on_pause)
        now.on_pause();
    else
        machine::serve_kicks();
}
void take_interrupts() {
    if (now.on_take_interrupts) now.on_take_interrupts();
}
void wait_for_interrupt() { throw machine::Idle{}; }
void halt_forever() { throw machine::Panic{"halted"}; }
namespace {
void out(std::uint16_t port, unsigned width, std::uint32_t v) {
    if (now.on_port_write)
        now.on_port_write(port, width, v);
    else
        now.port_writes.emplace_back(port, v);
}
std::uint32_t in(std::uint16_t port, unsigned width) {
    return now.on_port_read ? now.on_port_read(port, width) : now.port_value;
}
}  // namespace
void out8(std::uint16_t port, std::uint8_t v) { out(port, 1, v); }
void out16(std::uint16_t port, std::uint16_t v) { out(port, 2, v); }
void out32(std::uint16_t port, std::uint32_t v) { out(port, 4, v); }
std::uint8_t in8(std::uint16_t port) { return static_cast<std::uint8_t>(in(port, 1)); }
std::uint16_t in16(std::uint16_t port) { return static_cast<std::uint16_t>(in(port, 2)); }
std::uint32_t in32(std::uint16_t port) { return in(port, 4); }

}  // namespace cpu

namespace apic {
void end_of_interrupt() { ++now.ends_of_interrupt; }
bool in_service(unsigned) { return !now.nothing_in_service; }
bool is_requested(unsigned vector) { return now.requested[machine::this_core_id].contains(vector); }
void arm_timer(std::uint64_t tsc) { now.timer[machine::this_core_id] = tsc; }
void send_kick(unsigned apic_id) {
    for (unsigned i = 0; i < machine::cores; ++i) {
        if (machine::the_cores[i].apic_id != apic_id) continue;
        now.kicked |= 1ull << i;
        if (now.hold_kicks || machine::serving) continue;
        machine::serving = true;
        machine::serve(i);
        machine::serving = false;
    }
}
}  // namespace apic

namespace io_apic {
bool exists(unsigned gsi) { return gsi < 24; }
bool is_level(unsigned gsi) { return gsi >= 16; }
void unmask(unsigned gsi, unsigned, unsigned) { now.line_masked[gsi] = false; }
void mask(unsigned gsi) { now.line_masked[gsi] = true; }
}  // namespace io_apic

namespace kernel_tables {
HostPhys root() { return machine::kernel_root; }
// Something in the kernel's half, so that a confusion with the user's half shows.
void share(std::uint64_t* entries) {
    for (unsigned i = 256; i < 512; ++i) entries[i] = 0x6001;
}
bool is_mapped(std::uint64_t) { return false; }
bool is_ram(HostPhys) { return true; }
}  // namespace kernel_tables

const Features& features() {
    machine::the_features.gigabyte_pages = now.gigabyte_pages;
    machine::the_features.next_rip = now.next_rip;
    machine::the_features.pcid = now.pcid;
    machine::the_features.invpcid = now.invpcid;
    machine::the_features.svm = true;
    machine::the_features.machine_check = true;
    machine::the_features.pae_unchecked = now.pae_unchecked;
    machine::the_features.injects_twice = now.injects_twice;
    machine::the_features.guest_cr4 = now.guest_cr4;
    machine::the_features.physical_bits = 40;
    machine::the_features.asids = 16;
    machine::the_features.tsc_khz = now.tsc_khz;
    machine::the_features.xsave = now.xsave;
    machine::the_features.tsc_aux = now.tsc_aux;
    return machine::the_features;
}

const Mitigations& mitigations() { return now.mitigations; }
void branch_barrier() { ++now.branch_barriers; }

namespace console {
void init() {}
void put(char c) { now.console += c; }
void lock() {}
void unlock() {}
}  // namespace console

void report_thread_fault(const Thread&) {}
void report_guest_failure(const Vcpu&, const char* why) { now.guest_failures.emplace_back(why); }
void stop_node(const char* why) { throw machine::Panic{why}; }
void report_kernel_fault(const InterruptFrame&, const char*) { throw machine::Panic{"a fault"}; }
void panic(const char* what, const char*, int) { throw machine::Panic{what}; }

void enter_thread_message(Thread& t, std::uint64_t badge, std::uint64_t label, std::uint64_t w0,
                          std::uint64_t w1, std::uint64_t w2, std::uint64_t w3, std::uint64_t w4,
                          std::uint64_t w5) {
    t.set_status(Status::ok);
    t.gpr[gpr_rdi] = badge, t.gpr[gpr_rsi] = label, t.gpr[gpr_rdx] = w0, t.gpr[gpr_r8] = w1;
    t.gpr[gpr_r9] = w2, t.gpr[gpr_r10] = w3, t.gpr[gpr_r12] = w4, t.gpr[gpr_r13] = w5;
    throw machine::Entered{&t};
}

}  // namespace margay

extern "C" void enter_thread_result(margay::Thread* t) { throw margay::machine::Entered{t}; }
extern "C" void enter_thread_full(margay::Thread* t) { throw margay::machine::Entered{t}; }

#include "tests/host_node/guest.hpp"

#include <cstring>

#include "servers/vmm/loader/linux_header.hpp"
#include "servers/vmm/loader/little_endian.hpp"
#include "tests/unit/kernel/fakes/machine.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/space.hpp"

namespace margay::host_node {

namespace {

constexpr std::uint64_t load_address = 0x20'0000, entry = 0x200;
constexpr std::uint64_t first_step = load_address + entry;
// A step: NOP, where registers are set; the instruction; the rest is jumped over.
constexpr std::uint64_t step_bytes = 16;
constexpr std::uint64_t texts = load_address + 0x2'0000, text_bytes = 64;
constexpr std::size_t payload_bytes = 0x4'0000;
constexpr std::uint64_t rflags_if = 1 << 9;

void set(Vcpu& v, GprIndex r, std::uint64_t value) {
    if (r == gpr_rax)
        v.guest.vmcb->rax = value;
    else
        v.gpr[r] = value;
}

std::uint64_t step_at(const Vcpu& v) { return (v.guest.vmcb->rip - first_step) / step_bytes; }
void skip(Vcpu& v) { v.guest.vmcb->rip = first_step + (step_at(v) + 1) * step_bytes; }
std::uint64_t text_of(std::size_t step) { return texts + step % 1024 * text_bytes; }

}  // namespace

void GuestScript::mix(Vcpu& v, std::uint64_t value) {
    std::uint64_t& sum = v.gpr[gpr_r14];
    sum = (sum ^ value) * 0x9e37'79b9'7f4a'7c15;
    sum ^= sum >> 29;
}

GuestScript& GuestScript::add(Step step) {
    steps_.push_back(std::move(step));
    return *this;
}

GuestScript& GuestScript::out(std::uint16_t port, std::uint32_t value, unsigned width) {
    std::vector<std::uint8_t> code = {0xee};
    if (width == 2) code = {0x66, 0xef};
    if (width == 4) code = {0xef};
    return add({Kind::out, port, value, width, code, {}});
}
GuestScript& GuestScript::in(std::uint16_t port, unsigned width) {
    std::vector<std::uint8_t> code = {0xec};
    if (width == 2) code = {0x66, 0xed};
    if (width == 4) code = {0xed};
    return add({Kind::in, port, 0, width, code, {}});
}
GuestScript& GuestScript::say(std::string_view text) {
    for (const char c : text) out(0x3f8, static_cast<std::uint8_t>(c));
    return *this;
}
GuestScript& GuestScript::say_string(std::string_view text) {
    return add({Kind::out_string, 0x3f8, 0, 1, {0xf3, 0x6e}, std::string{text}});
}
GuestScript& GuestScript::in_string(std::uint16_t port, unsigned count) {
    return add({Kind::in_string, port, count, 1, {0xf3, 0x6c}, {}});
}
GuestScript& GuestScript::write_msr(std::uint32_t index, std::uint64_t value) {
    return add({Kind::write_msr, index, value, 0, {0x0f, 0x30}, {}});
}
GuestScript& GuestScript::read_msr(std::uint32_t index) {
    return add({Kind::read_msr, index, 0, 0, {0x0f, 0x32}, {}});
}
GuestScript& GuestScript::cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    return add({Kind::cpuid, leaf, subleaf, 0, {0x0f, 0xa2}, {}});
}
GuestScript& GuestScript::hypercall(std::uint64_t number) {
    return add({Kind::hypercall, number, 0, 0, {0x0f, 0x01, 0xd9}, {}});
}
GuestScript& GuestScript::mmio_write(std::uint32_t address, std::uint32_t value) {
    return add({Kind::mmio_write, address, value, 4, {0x89, 0x03}, {}});  // mov %eax, (%rbx)
}
GuestScript& GuestScript::mmio_read(std::uint32_t address) {
    return add({Kind::mmio_read, address, 0, 4, {0x8b, 0x03}, {}});
}
GuestScript& GuestScript::write_cr8(std::uint64_t value) {
    return add({Kind::write_cr8, 8, value, 0, {0x44, 0x0f, 0x22, 0xc0}, {}});
}
GuestScript& GuestScript::read_cr8() {
    return add({Kind::read_cr8, 8, 0, 0, {0x44, 0x0f, 0x20, 0xc0}, {}});
}
GuestScript& GuestScript::cache_flush() {
    return add({Kind::cache_flush, 0, 0, 0, {0x0f, 0x09}, {}});
}
GuestScript& GuestScript::rdpmc() { return add({Kind::rdpmc, 0, 0, 0, {0x0f, 0x33}, {}}); }
GuestScript& GuestScript::pause() { return add({Kind::pause, 0, 0, 0, {0xf3, 0x90}, {}}); }
GuestScript& GuestScript::interrupt_window() {
    return add({Kind::interrupt_window, 0, 0, 0, {0x90}, {}});
}
GuestScript& GuestScript::exception(std::uint64_t vector, std::uint64_t error) {
    return add({Kind::exception, vector, error, 0, {0x0f, 0x0b}, {}});
}
GuestScript& GuestScript::triple_fault() {
    return add({Kind::triple_fault, 0, 0, 0, {0x0f, 0x0b}, {}});
}
GuestScript& GuestScript::invalid_state() {
    return add({Kind::invalid_state, 0, 0, 0, {0x0f, 0x0b}, {}});
}
GuestScript& GuestScript::wait() { return add({Kind::wait, 0, 0, 0, {0xf4}, {}}); }
GuestScript& GuestScript::echo_last() { return add({Kind::echo, 0x3f8, 0, 1, {0xee}, {}}); }
GuestScript& GuestScript::say_sum() {
    for (unsigned i = 16; i-- > 0;) add({Kind::say_digit, 0x3f8, i, 1, {0xee}, {}});
    return say("\n");
}
GuestScript& GuestScript::power_off() { return out(0x604, 5 << 10 | 1 << 13, 2); }

std::vector<std::byte> GuestScript::image() const {
    namespace at = vmm::linux_offset;
    using vmm::store_at;
    constexpr std::size_t header = 2 * 512;
    std::vector<std::byte> image(header + payload_bytes);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        const std::size_t offset = header + entry + i * step_bytes;
        image[offset] = std::byte{0x90};
        std::memcpy(&image[offset + 1], steps_[i].code.data(), steps_[i].code.size());
        std::memcpy(&image[header + text_of(i) - load_address], steps_[i].text.data(),
                    steps_[i].text.size());
    }
    vmm::store_at<std::uint64_t>(image, header, reinterpret_cast<std::uint64_t>(this));
    store_at<std::uint8_t>(image, at::setup_sectors, 1);
    store_at<std::uint32_t>(image, at::size_paragraphs, payload_bytes / 16);
    store_at<std::uint16_t>(image, at::boot_flag, 0xaa55);
    store_at<std::uint8_t>(image, at::header_length, 0x66);
    store_at<std::uint32_t>(image, at::magic, 0x5372'6448);
    store_at<std::uint16_t>(image, at::version, 0x020f);
    store_at<std::uint8_t>(image, at::load_flags, 1);
    store_at<std::uint32_t>(image, at::initrd_limit, 0x7fff'ffff);
    store_at<std::uint32_t>(image, at::alignment, 0x20'0000);
    store_at<std::uint16_t>(image, at::extended_load_flags, 1);
    store_at<std::uint32_t>(image, at::command_line_size, 2047);
    store_at<std::uint64_t>(image, at::preferred_address, load_address);
    store_at<std::uint32_t>(image, at::init_size, 0x10'0000);
    return image;
}

const GuestScript* GuestScript::loaded_in(const Vcpu& v) {
    const std::optional<Leaf> leaf = v.space->tables().lookup(load_address);
    return leaf ? *direct<const GuestScript*>(leaf->physical) : nullptr;
}

// The registers that the instruction takes.
void GuestScript::begin(Vcpu& v, const Step& step, std::size_t number) const {
    switch (step.kind) {
    case Kind::out: set(v, gpr_rdx, step.a), set(v, gpr_rax, step.b); break;
    case Kind::in: set(v, gpr_rdx, step.a), set(v, gpr_rax, 0x5555'5555'5555'5555); break;
    case Kind::out_string:
        set(v, gpr_rdx, step.a), set(v, gpr_rcx, step.text.size());
        set(v, gpr_rsi, text_of(number));
        break;
    case Kind::in_string:
        set(v, gpr_rdx, step.a), set(v, gpr_rcx, step.b), set(v, gpr_rdi, text_of(number));
        break;
    case Kind::write_msr:
        set(v, gpr_rcx, step.a), set(v, gpr_rax, step.b & 0xffff'ffff);
        set(v, gpr_rdx, step.b >> 32);
        break;
    case Kind::read_msr: set(v, gpr_rcx, step.a); break;
    case Kind::cpuid: set(v, gpr_rax, step.a), set(v, gpr_rcx, step.b); break;
    case Kind::hypercall: set(v, gpr_rax, step.a), set(v, gpr_rbx, 1); break;
    case Kind::mmio_write: set(v, gpr_rbx, step.a), set(v, gpr_rax, step.b); break;
    case Kind::mmio_read: set(v, gpr_rbx, step.a), set(v, gpr_rax, 0); break;
    case Kind::write_cr8: set(v, gpr_rax, step.b); break;
    case Kind::read_cr8: set(v, gpr_rax, 0); break;
    case Kind::rdpmc: set(v, gpr_rcx, 0); break;
    case Kind::say_digit:
        set(v, gpr_rdx, step.a);
        set(v, gpr_rax,
            static_cast<std::uint8_t>("0123456789abcdef"[v.gpr[gpr_r14] >> 4 * step.b & 15]));
        break;
    case Kind::echo: set(v, gpr_rdx, step.a); break;
    case Kind::wait: v.guest.vmcb->rflags |= rflags_if; break;
    case Kind::interrupt_window: v.gpr[gpr_r13] = 1; break;
    default: break;
    }
}

// What the processor says (AMD APM vol. 2 appendix C).
void GuestScript::exit(Vcpu& v, const Step& step) const {
    Vmcb& c = *v.guest.vmcb;
    c.exit_info1 = c.exit_info2 = c.exit_int_info = 0;
    const std::uint64_t next = c.rip + step.code.size();
    constexpr std::uint64_t in = 1, string = 4, rep = 8;
    switch (step.kind) {
    case Kind::out:
    case Kind::say_digit:
    case Kind::echo:
    case Kind::in:
    case Kind::out_string:
    case Kind::in_string:
        c.exit_code = vmcb::exit_io;
        c.exit_info1 = step.a << 16 | std::uint64_t{step.width} << 4;
        if (step.kind == Kind::in || step.kind == Kind::in_string) c.exit_info1 |= in;
        if (step.kind == Kind::out_string || step.kind == Kind::in_string)
            c.exit_info1 |= string | rep;
        c.exit_info2 = next;
        break;
    case Kind::write_msr: c.exit_code = vmcb::exit_msr, c.exit_info1 = 1; break;
    case Kind::read_msr: c.exit_code = vmcb::exit_msr; break;
    case Kind::cpuid: c.exit_code = vmcb::exit_cpuid; break;
    case Kind::hypercall: c.exit_code = vmcb::exit_vmmcall; break;
    case Kind::mmio_write:
    case Kind::mmio_read:
        c.exit_code = vmcb::exit_npf;
        c.exit_info1 = 4 | 1ull << 32 | (step.kind == Kind::mmio_write ? mmio_access::write : 0);
        c.exit_info2 = step.a;
        break;
    case Kind::write_cr8: c.exit_code = vmcb::cr_write_0 + 8; break;
    case Kind::read_cr8: c.exit_code = vmcb::cr_read_0 + 8; break;
    case Kind::cache_flush: c.exit_code = vmcb::exit_wbinvd; break;
    case Kind::rdpmc: c.exit_code = vmcb::exit_rdpmc; break;
    case Kind::wait: c.exit_code = vmcb::exit_hlt; break;
    case Kind::pause: c.exit_code = vmcb::exit_pause; break;
    case Kind::interrupt_window: c.exit_code = vmcb::exit_vintr; break;
    case Kind::exception:
        c.exit_code = vmcb::exception_0 + step.a;
        c.exit_info1 = step.b;
        break;
    case Kind::triple_fault: c.exit_code = vmcb::exit_shutdown; break;
    case Kind::invalid_state: c.exit_code = ~0ull; break;
    }
}

void GuestScript::finish(Vcpu& v, const Step& step) const {
    switch (step.kind) {
    case Kind::in:
    case Kind::hypercall:
    case Kind::mmio_read:
    case Kind::read_cr8: mix(v, v.guest.vmcb->rax); break;
    case Kind::read_msr: mix(v, v.guest.vmcb->rax | v.gpr[gpr_rdx] << 32); break;
    case Kind::cpuid:
        mix(v, v.guest.vmcb->rax), mix(v, v.gpr[gpr_rbx]), mix(v, v.gpr[gpr_rcx]);
        mix(v, v.gpr[gpr_rdx]);
        break;
    case Kind::out_string: mix(v, v.gpr[gpr_rsi]); break;
    case Kind::in_string: mix(v, v.gpr[gpr_rdi]); break;
    default: break;
    }
    mix(v, v.guest.vmcb->rip);
}

// A fault skips the instruction, as the guest's handler would.
void GuestScript::enter(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    if ((c.event_injection & vmcb::event_valid) == 0) return;
    c.event_injection &= ~vmcb::event_valid;
    if ((c.event_injection & vmcb::event_type) == vmcb::event_type_intr)
        return take(v, c.event_injection & 0xff);
    mix(v, c.event_injection | vmcb::event_valid);
    if ((c.event_injection & vmcb::event_type) == event_injection::type_exception) skip(v);
}

// An interrupt: its handler skips the instruction that it interrupts, and leaves IF clear.
void GuestScript::take(Vcpu& v, std::uint64_t vector) {
    v.guest.vmcb->rflags &= ~rflags_if;
    mix(v, vector);
    skip(v);
}

void GuestScript::run(Vcpu& v) const {
    Vmcb& c = *v.guest.vmcb;
    enter(v);
    for (;;) {
        if ((c.virtual_interrupt & vmcb::v_irq) != 0 && (c.rflags & rflags_if) != 0) {
            c.virtual_interrupt &= ~vmcb::v_irq;
            take(v, c.virtual_interrupt >> vmcb::v_vector_shift & 0xff);
        }
        const std::uint64_t number = step_at(v);
        const std::uint64_t at = (c.rip - first_step) % step_bytes;
        // A VMM may send its guest anywhere; there is no handler for what it meets there.
        if (number >= steps_.size()) return exit(v, {Kind::triple_fault, 0, 0, 0, {}, {}});
        const Step& step = steps_[number];
        if (at == 0) {
            begin(v, step, number);
            ++c.rip;
        } else if (at == 1 && step.kind == Kind::interrupt_window && v.gpr[gpr_r13] == 0) {
            skip(v);  // it was open: the instruction has been executed
        } else if (at == 1) {
            v.gpr[gpr_r13] = 0;
            exit(v, step);
            return;
        } else if (step.kind == Kind::wait) {
            --c.rip;  // nothing came: it halts again
        } else if (at == 1 + step.code.size()) {
            finish(v, step);
            skip(v);
        } else {
            return exit(v, {Kind::triple_fault, 0, 0, 0, {}, {}});
        }
    }
}

}  // namespace margay::host_node

#include "servers/init/checkpoint.hpp"

#include <algorithm>
#include <cstring>

#include "proto/vmm.hpp"

namespace margay::init {

namespace {

// The block: of each vCPU device-state region and state page, then RAM.
constexpr std::uint64_t cpu_bytes = device_state_bytes + page_size;

bool refuse(Failure& why, FailureKind kind, const char* text) {
    why.set(kind, "{}", text);
    return false;
}
bool refuse(Failure& why, Status s) {
    return refuse(why, s == Status::no_memory ? FailureKind::no_memory : FailureKind::failed,
                  to_text(s));
}

}  // namespace

bool Checkpoint::begin_save(Node& node, const Guest& guest, Failure& why) {
    drop();
    holdings_.use(node);
    Status s = Status::ok;
    sequence_ = 0;
    features_ = guest.features;
    for (unsigned i = 0; s == Status::ok && i < guest.cpus(); ++i) {
        s = vcpu_ctl(guest.cpu(i).vcpu, VcpuOp::read_state, state::valid_groups);
        const Result<VcpuStatus> vcpu = query_vcpu(guest.cpu(i).vcpu);
        if (s == Status::ok) s = vcpu.status();
        if (s == Status::ok) sequence_ = std::max(sequence_, vcpu->sequence);
    }
    if (s != Status::ok) return refuse(why, s);
    guest_ = &guest;
    ram_at_ = guest.cpus() * cpu_bytes;
    if (!node.has_free(ram_at_ + guest.ram.size)) return refuse(why, Status::no_memory);
    room_ = Ram{};
    at_ = 0;
    total_ = guest.ram.size;
    saves_ = true;
    has_room_ = false;
    return true;
}

// Memory for the block; when it is there, what is small.
Piece Checkpoint::room_piece(Failure& why) {
    bool done = false;
    Status s = holdings_.allocate_ram_piece(ram_at_ + total_, any_node, room_, done);
    if (s == Status::ok && !done) return Piece::more;
    Result<std::uint64_t> at = s;
    if (s == Status::ok) at = holdings_.map_here(room_, map_right::read_write);
    s = at.status();
    if (s == Status::ok) s = ram_.open(holdings_.node(), guest_->ram);
    if (s != Status::ok) {
        (void)refuse(why, s);
        return Piece::failed;
    }
    block_ = reinterpret_cast<std::byte*>(*at);
    taken_at_ = rdtsc();
    for (unsigned i = 0; i < guest_->cpus(); ++i) {
        const GuestCpu& cpu = guest_->cpu(i);
        std::memcpy(block_ + i * cpu_bytes, cpu.region, device_state_bytes);
        std::memcpy(block_ + i * cpu_bytes + device_state_bytes, cpu.state, page_size);
    }
    has_room_ = true;
    return Piece::more;
}

bool Checkpoint::begin_restore(Node& node, const Guest& guest, Failure& why) {
    ram_at_ = guest.cpus() * cpu_bytes;
    if (bytes_ != ram_at_ + guest.ram.size)
        return refuse(why, FailureKind::failed,
                      "it was saved with another memory size or number of vCPUs");
    if (const Status s = ram_.open(node, guest.ram); s != Status::ok) return refuse(why, s);
    for (unsigned i = 0; i < guest.cpus(); ++i) {
        const std::byte* const from = block_ + i * cpu_bytes;
        std::memcpy(guest.cpu(i).region, from, device_state_bytes);
        std::memcpy(static_cast<void*>(guest.cpu(i).state), from + device_state_bytes, page_size);
    }
    at_ = 0;
    total_ = guest.ram.size;
    saves_ = false;
    return true;
}

Piece Checkpoint::copy_piece(Failure& why) {
    if (saves_ && !has_room_) return room_piece(why);
    const std::uint64_t size = std::min(piece_bytes, total_ - at_);
    std::byte* const saved = block_ + ram_at_ + at_;
    std::byte* const lived = ram_.bytes() + at_;
    std::memcpy(saves_ ? saved : lived, saves_ ? lived : saved, size);
    at_ += size;
    if (at_ < total_) return Piece::more;
    if (saves_) bytes_ = ram_at_ + total_;
    return Piece::done;
}

void Checkpoint::end() {
    ram_.close();
    if (bytes_ == 0) drop();
}

void Checkpoint::adopt(const Holdings& holdings, std::byte* block, std::uint64_t bytes,
                       std::uint64_t taken_at, std::uint64_t sequence, CpuFeatures features) {
    drop();
    holdings_ = holdings;
    block_ = block;
    bytes_ = bytes;
    taken_at_ = taken_at;
    sequence_ = sequence;
    features_ = features;
}

void Checkpoint::drop() {
    ram_.close();
    holdings_.release();
    bytes_ = 0;
    block_ = nullptr;
}

}  // namespace margay::init

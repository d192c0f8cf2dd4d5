#include "servers/init/checkpoint.hpp"

#include <cstring>

#include "libipc/mapping.hpp"
#include "proto/vmm.hpp"

namespace margay::init {

namespace {

constexpr std::uint64_t rw = map_right::read | map_right::write;

// The guest's RAM in init's address space, for a while: mapped through a capability of its own, so that
// it can be taken away again without taking the guest's.
class RamWindow {
  public:
    RamWindow(Node& node, const Extent& ram) : node_{node}, extent_{ram} {
        extent_.slot = node.new_slot();
        status_ = copy(ram.slot, init_slot::domain, extent_.slot, right::read | right::write);
        if (status_ != Status::ok) return;
        const Result<std::uint64_t> at = node.map_here(extent_, rw);
        status_ = at.status();
        if (at) at_ = *at;
    }
    ~RamWindow() {
        (void)revoke(extent_.slot, revoke_flag::self);
        if (at_ != 0) node_.give_back_window(extent_, at_);
        node_.give_back_slot(extent_.slot);
    }
    RamWindow(const RamWindow&) = delete;
    RamWindow& operator=(const RamWindow&) = delete;

    Status status() const { return status_; }
    std::byte* bytes() const { return reinterpret_cast<std::byte*>(at_); }

  private:
    Node& node_;
    Extent extent_;
    Status status_ = Status::ok;
    std::uint64_t at_ = 0;
};

}  // namespace

// The block: device-state region, state page, RAM.
Status Checkpoint::save(Node& node, const Guest& guest) {
    holdings_.release();
    bytes_ = 0;
    holdings_.use(node);
    Status s = vcpu_ctl(guest.vcpu, VcpuOp::read_state, state::valid_groups);
    if (s != Status::ok) return s;
    const Result<VcpuStatus> vcpu = query_vcpu(guest.vcpu);
    if (!vcpu) return vcpu.status();
    const std::uint64_t total = device_state_bytes + page_size + guest.ram.size;
    const Result<Extent> block = holdings_.allocate(total, large_page);
    if (!block) return block.status();
    const Result<std::uint64_t> at = holdings_.map_here(*block, rw);
    if (!at) return at.status();
    block_ = reinterpret_cast<std::byte*>(*at);
    const RamWindow ram{node, guest.ram};
    if (ram.status() != Status::ok) return ram.status();
    taken_at_ = rdtsc();
    sequence_ = vcpu->sequence;
    std::memcpy(block_, guest.region, device_state_bytes);
    std::memcpy(block_ + device_state_bytes, guest.state, page_size);
    std::memcpy(block_ + device_state_bytes + page_size, ram.bytes(), guest.ram.size);
    bytes_ = total;
    return Status::ok;
}

Status Checkpoint::restore(const Guest& guest) const {
    if (bytes_ != device_state_bytes + page_size + guest.ram.size) return Status::bad_argument;
    const RamWindow ram{holdings_.node(), guest.ram};
    if (ram.status() != Status::ok) return ram.status();
    std::memcpy(guest.region, block_, device_state_bytes);
    std::memcpy(static_cast<void*>(guest.state), block_ + device_state_bytes, page_size);
    std::memcpy(ram.bytes(), block_ + device_state_bytes + page_size, guest.ram.size);
    return Status::ok;
}

}  // namespace margay::init

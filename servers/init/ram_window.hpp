// A guest's RAM in init's address space, for a while: mapped through a capability of its own, so that it can
// be taken away again without taking the guest's. It must be closed.
#pragma once
#include "libipc/mapping.hpp"
#include "servers/init/node.hpp"

namespace margay::init {

class RamWindow {
  public:
    RamWindow() = default;
    RamWindow(const RamWindow&) = delete;
    RamWindow& operator=(const RamWindow&) = delete;

    Status open(Node& node, const Extent& ram) {
        close();
        node_ = &node;
        extent_ = ram;
        extent_.slot = node.new_slot();
        Status s = copy(ram.slot, init_slot::domain, extent_.slot, right::read | right::write);
        if (s == Status::ok) {
            const Result<std::uint64_t> at =
                node.map_here(extent_, map_right::read | map_right::write);
            s = at.status();
            if (at) at_ = *at;
        }
        if (s != Status::ok) close();
        return s;
    }
    void close() {
        if (node_ == nullptr) return;
        (void)revoke(extent_.slot, revoke_flag::self);
        if (at_ != 0) node_->give_back_window(extent_, at_);
        node_->give_back_slot(extent_.slot);
        node_ = nullptr;
        at_ = 0;
    }
    std::byte* bytes() const { return reinterpret_cast<std::byte*>(at_); }

  private:
    Node* node_ = nullptr;
    Extent extent_;
    std::uint64_t at_ = 0;
};

}  // namespace margay::init

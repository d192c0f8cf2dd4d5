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

    Status open(Node& node, const Ram& ram) {
        close();
        node_ = &node;
        ram_ = ram;
        Status s = Status::ok;
        for (unsigned i = 0; i < ram.count; ++i) {
            ram_.extent[i].slot = node.new_slot();
            if (s == Status::ok)
                s = copy(ram.extent[i].slot, init_slot::domain, ram_.extent[i].slot,
                         right::read | right::write);
        }
        if (s == Status::ok) {
            const Result<std::uint64_t> at = node.map_here(ram_, map_right::read_write);
            s = at.status();
            if (at) at_ = *at;
        }
        if (s != Status::ok) close();
        return s;
    }
    void close() {
        if (node_ == nullptr) return;
        for (unsigned i = 0; i < ram_.count; ++i) {
            (void)revoke(ram_.extent[i].slot, revoke_flag::self);
            node_->give_back_slot(ram_.extent[i].slot);
        }
        if (at_ != 0) node_->give_back_window({no_slot, 0, ram_.size}, at_);
        node_ = nullptr;
        at_ = 0;
    }
    std::byte* bytes() const { return reinterpret_cast<std::byte*>(at_); }

  private:
    Node* node_ = nullptr;
    Ram ram_;
    std::uint64_t at_ = 0;
};

}  // namespace margay::init

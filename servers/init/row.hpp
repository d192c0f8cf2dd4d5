// So many of a kind, in memory that is acquired for them: of what a VM has one for each vCPU.
#pragma once
#include <new>

#include "servers/init/holdings.hpp"
#include "support/address.hpp"

namespace margay::init {

template <typename T>
class Row {
  public:
    // The memory is the holdings', and goes with them; clear() is due before that.
    Status make(Holdings& holdings, unsigned count) {
        const Result<Extent> memory =
            holdings.allocate(align_up(std::uint64_t{count} * sizeof(T), page_size));
        if (!memory) return memory.status();
        const Result<std::uint64_t> here = holdings.map_here(*memory, map_right::read_write);
        if (!here) return here.status();
        auto* const first = reinterpret_cast<T*>(*here);
        for (unsigned i = 0; i < count; ++i) new (first + i) T;
        first_ = first;
        count_ = count;
        return Status::ok;
    }
    void clear() {
        first_ = nullptr;
        count_ = 0;
    }
    unsigned size() const { return count_; }
    T* begin() const { return first_; }
    T* end() const { return first_ + count_; }
    T& operator[](unsigned i) const { return first_[i]; }

  private:
    T* first_ = nullptr;
    unsigned count_ = 0;
};

}  // namespace margay::init

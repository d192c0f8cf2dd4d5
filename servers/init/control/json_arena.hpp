// The memory that RapidJSON's reader and writer keep their stacks in: small, and given back as a whole
// when a line has been dealt with. It must be large enough for every line that is allowed.
#pragma once
#include <cstddef>
#include <cstring>

namespace margay::init {

template <std::size_t bytes>
class JsonArena {
  public:
    // RapidJSON asks for it.
    // NOLINTNEXTLINE(bugprone-dynamic-static-initializers): it is a constant
    [[maybe_unused]] static constexpr bool kNeedFree = false;
    JsonArena() = default;
    JsonArena(const JsonArena&) = delete;
    JsonArena& operator=(const JsonArena&) = delete;

    void* Malloc(std::size_t size) {
        size = (size + 15) & ~std::size_t{15};
        if (size > sizeof(room_) - used_) __builtin_trap();
        last_ = used_;
        used_ += size;
        return room_ + last_;
    }
    void* Realloc(void* old, std::size_t old_size, std::size_t size) {
        if (size <= old_size) return old;
        if (old != nullptr && old == room_ + last_) {
            used_ = last_;
            return Malloc(size);
        }
        void* p = Malloc(size);
        if (old != nullptr && old_size != 0) std::memcpy(p, old, old_size);
        return p;
    }
    static void Free(void*) {}
    void clear() { used_ = last_ = 0; }

  private:
    alignas(16) unsigned char room_[bytes];
    std::size_t used_ = 0;
    std::size_t last_ = 0;  // where the latest block begins
};

}  // namespace margay::init

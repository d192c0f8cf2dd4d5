// Several stores that happen together or not at all, in memory that outlives who writes it.
//
// Before an object is changed, save() keeps what it was. commit() forgets that: the change is done. Who finds the memory
// after its writer was cut off anywhere calls roll_back(): it is as before the change that was under way. The log lies
// in the same memory.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace margay {

template <std::uint32_t bytes>
class UndoLog {
  public:
    template <typename T>
    void save(T& object) {
        static_assert(std::is_trivially_copyable_v<T>);
        constexpr std::uint32_t size = (sizeof(T) + 7) & ~7u;
        if (used_ > bytes - size - sizeof(Mark) || used_ > bytes) __builtin_trap();
        std::memcpy(data_ + used_, &object, sizeof(T));
        const Mark mark{reinterpret_cast<std::uint64_t>(&object) -
                            reinterpret_cast<std::uint64_t>(this),
                        sizeof(T), size};
        std::memcpy(data_ + used_ + size, &mark, sizeof(mark));
        in_order();
        used_ = used_ + size + static_cast<std::uint32_t>(sizeof(Mark));
        in_order();
    }
    void commit() {
        in_order();
        used_ = 0;
        in_order();
    }
    // Objects lie in [begin, begin + size). False: the log is damaged, and what it tells of is not done.
    bool roll_back(void* begin, std::uint64_t size) {
        std::uint32_t at = used_;
        bool sound = at <= bytes;
        while (sound && at != 0) {
            Mark mark{};
            sound = at >= sizeof(mark);
            if (!sound) break;
            std::memcpy(&mark, data_ + at - sizeof(mark), sizeof(mark));
            at -= static_cast<std::uint32_t>(sizeof(mark));
            const std::uint64_t place = reinterpret_cast<std::uint64_t>(this) + mark.distance -
                                        reinterpret_cast<std::uint64_t>(begin);
            sound = mark.room <= at && mark.size <= mark.room && place < size &&
                    mark.size <= size - place;
            if (!sound) break;
            at -= mark.room;
            std::memcpy(static_cast<char*>(begin) + place, data_ + at, mark.size);
        }
        commit();
        return sound;
    }
    bool is_empty() const { return used_ == 0; }

  private:
    struct Mark {
        std::uint64_t distance;    // of the object from the log
        std::uint32_t size, room;  // of what was saved, in front of this
    };
    static void in_order() { std::atomic_signal_fence(std::memory_order_seq_cst); }

    std::uint32_t used_ = 0;
    alignas(8) char data_[bytes];
};

}  // namespace margay

// Looking capabilities up and putting them into slots.
#pragma once
#include "support/result.hpp"
#include "ukernel/object/domain.hpp"

namespace margay {

struct Thread;

// The capability in a slot of t's table, of that type (none: any), with all of the rights. What it leads to
// is there until this core passes an epoch.
Result<CapSlot*> find_capability(const Thread& t, std::uint64_t slot, ObjectType type,
                                 std::uint8_t rights);
template <typename T>
T& object_of(const CapSlot& slot) {
    return *static_cast<T*>(slot.object);
}

// An empty slot that nobody else can fill until it is filled, or given up when this goes away.
class Reservation {
  public:
    // `bad_capability` if the table has no such slot, `occupied` if it is not empty.
    static Result<Reservation> make(Domain& domain, std::uint64_t slot);
    Reservation() = default;
    Reservation(Reservation&& other) noexcept : domain_{other.domain_}, slot_{other.slot_} {
        other.slot_ = nullptr;
    }
    ~Reservation();
    Reservation& operator=(Reservation&&) = delete;

    // A new capability that is below `parent`, which can be attached to.
    void fill(ObjectType type, void* object, std::uint64_t badge, Node& parent);
    // A new extent.
    Status fill_extent(CapSlot& parent, std::uint64_t base, std::uint64_t size, Estate estate);
    // See copy_capability.
    Status fill_copy(CapSlot& source, std::uint8_t rights, std::uint64_t badge);

  private:
    Reservation(Domain& domain, CapSlot& slot) : domain_{&domain}, slot_{&slot} {}
    CapSlot& open(Node& parent);
    void publish(ObjectType type);

    Domain* domain_ = nullptr;
    CapSlot* slot_ = nullptr;
};

// Under the lock of the source's estate: a copy with at most the source's rights. `badge`: given to an
// unbadged portal capability, or the mask of bits that a copy of an unmasked event capability may signal;
// 0: as the source. `occupied`, `too_deep`, `bad_capability` and `bad_argument` leave everything as it was.
Status copy_capability(CapSlot& source, Domain& to, std::uint64_t destination, std::uint8_t rights,
                       std::uint64_t badge);

}  // namespace margay

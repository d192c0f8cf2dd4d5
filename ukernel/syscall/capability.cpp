#include "ukernel/syscall/capability.hpp"

#include <atomic>

#include "ukernel/object/derivation.hpp"
#include "ukernel/object/thread.hpp"

namespace margay {

namespace {

std::uint32_t frame_number(const Domain& d) {
    return static_cast<std::uint32_t>(physical_of(&d).value() / page_size);
}

bool is_lock_free(ObjectType type) {
    return type == ObjectType::portal || type == ObjectType::event;
}

}  // namespace

Result<CapSlot*> find_capability(const Thread& t, std::uint64_t number, ObjectType type,
                                 std::uint8_t rights) {
    if (number >= t.slot_count) return Status::bad_capability;
    CapSlot* slot = &t.slots[number];
    if (slot->type == ObjectType::none) return Status::bad_capability;
    if (type != ObjectType::none && slot->type != type) return Status::wrong_type;
    if ((slot->rights & rights) != rights) return Status::no_right;
    return slot;
}

Result<CapSlot*> find_empty(Domain& domain, std::uint64_t number) {
    CapSlot* slot = domain.slot(number);
    if (slot == nullptr) return Status::bad_capability;
    if (slot->type != ObjectType::none) return Status::occupied;
    return slot;
}

Status place_object(CapSlot& slot, Domain& in, ObjectType type, void* object, Node& parent) {
    const Status s = derivation::attach(slot, parent);
    if (s != Status::ok) return s;
    slot.object = object;
    slot.badge = type == ObjectType::event ? ~0ull : 0;
    slot.rights = right::all;
    slot.is_copy = false;
    slot.revoking = false;
    slot.uses = is_lock_free(type) ? frame_number(in) : 0;
    std::atomic_signal_fence(std::memory_order_release);
    slot.type = type;
    return Status::ok;
}

Status copy_capability(CapSlot& source, Domain& to, CapSlot& destination, std::uint8_t rights,
                       std::uint64_t badge) {
    if (to.dying) return Status::bad_capability;
    if (destination.type != ObjectType::none) return Status::occupied;
    if (source.type == ObjectType::none || source.type >= ObjectType::count)
        return Status::bad_capability;
    std::uint64_t second = source.badge;  // of Memory: the size
    if (badge != 0) {
        if (source.type == ObjectType::portal) {
            if (source.badge != 0) return Status::bad_argument;
            second = badge;
        } else if (source.type == ObjectType::event) {
            second = source.badge & badge;
        } else {
            return Status::bad_argument;
        }
    }
    const Status s = derivation::attach(destination, source);
    if (s != Status::ok) return s;
    destination.object = source.object;
    destination.badge = second;
    destination.rights = source.rights & rights;
    destination.memory = source.memory;
    destination.extent = ExtentState::unused;
    destination.is_copy = true;
    destination.revoking = false;
    destination.uses = is_lock_free(source.type) ? frame_number(to) : 0;
    std::atomic_signal_fence(std::memory_order_release);
    destination.type = source.type;
    return Status::ok;
}

}  // namespace margay

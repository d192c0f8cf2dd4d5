#include "ukernel/object/capability.hpp"

#include <new>

#include "ukernel/debug/assert.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {

Result<CapSlot*> find_capability(const Thread& t, std::uint64_t number, ObjectType type,
                                 std::uint8_t rights) {
    if (number >= t.slot_count) return Status::bad_capability;
    CapSlot* slot = &t.slots[number];
    const ObjectType there = type_of(*slot);
    if (there == ObjectType::none) return Status::bad_capability;
    if (type != ObjectType::none && there != type) return Status::wrong_type;
    if ((slot->rights & rights) != rights) return Status::no_right;
    return slot;
}

Result<Reservation> Reservation::make(Domain& domain, std::uint64_t number) {
    CapSlot* slot = domain.slot(number);
    if (slot == nullptr) return Status::bad_capability;
    const SpinGuard lock{domain.guard};
    if (type_of(*slot) != ObjectType::none || slot->removal != Removal::none || slot->reserved)
        return Status::occupied;
    slot->reserved = true;
    return Reservation{domain, *slot};
}

Reservation::~Reservation() {
    if (slot_ == nullptr) return;
    const SpinGuard lock{domain_->guard};
    slot_->reserved = false;
}

// A slot that was empty is all zero or what its last capability left; somebody may still look at its type.
CapSlot& Reservation::open(Node& parent) {
    CapSlot& s = *slot_;
    const auto serial = static_cast<std::uint16_t>(s.serial + 1);
    new (&s) CapSlot{};
    s.serial = serial;
    s.reserved = true;
    s.domain = domain_;
    derivation::attach(s, parent);
    return s;
}

void Reservation::publish(ObjectType type) {
    set_type(*slot_, type);
    slot_->reserved = false;
    slot_ = nullptr;
}

void Reservation::fill(ObjectType type, void* object, std::uint64_t badge, Node& parent) {
    CapSlot& s = open(parent);
    s.object = object;
    s.badge = badge;
    s.rights = right::all;
    publish(type);
}

Status Reservation::fill_extent(CapSlot& parent, std::uint64_t base, std::uint64_t size,
                                Estate estate) {
    Status s = derivation::can_attach(parent);
    if (s == Status::ok) s = take_extent(parent, ExtentState::carved);
    if (s != Status::ok) return s;
    CapSlot& slot = open(parent);
    if (estate != 0) slot.estate = estate;
    slot.base = base;
    slot.size = size;
    slot.rights = parent.rights;
    slot.memory = parent.memory;
    static_cast<CapSlot&>(extent_root(parent)).carved.insert(slot);
    publish(ObjectType::memory);
    return Status::ok;
}

Status Reservation::fill_copy(CapSlot& source, std::uint8_t rights, std::uint64_t badge) {
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
    const Status s = derivation::can_attach(source);
    if (s != Status::ok) return s;
    CapSlot& slot = open(source);
    slot.object = source.object;
    slot.badge = second;
    slot.rights = source.rights & rights;
    slot.memory = source.memory;
    slot.is_copy = true;
    publish(source.type);
    return Status::ok;
}

Status copy_capability(CapSlot& source, Domain& to, std::uint64_t destination, std::uint8_t rights,
                       std::uint64_t badge) {
    Result<Reservation> slot = Reservation::make(to, destination);
    if (!slot) return slot.status();
    return (*slot).fill_copy(source, rights, badge);
}

}  // namespace margay

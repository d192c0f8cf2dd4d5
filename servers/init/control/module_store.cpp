#include "servers/init/control/module_store.hpp"

#include <algorithm>
#include <cstring>

#include "proto/frame.hpp"

namespace margay::init {

namespace {

bool is_good_name(std::string_view name) {
    if (name.empty() || name.size() >= max_name) return false;
    for (const char c : name) {
        const bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                          (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
        if (!good) return false;
    }
    return true;
}

template <typename... Arguments>
Failure refusal(FailureKind kind, std::string_view format, const Arguments&... arguments) {
    Failure f;
    f.set(kind, format, arguments...);
    return f;
}

}  // namespace

unsigned ModuleStore::find(std::string_view name, bool whole) const {
    unsigned i = 0;
    while (i < max_put_modules && (name != places_[i].name || whole != (places_[i].at == nullptr)))
        ++i;
    return i;
}

unsigned ModuleStore::find_transfer(std::uint32_t transfer) const {
    unsigned i = 0;
    while (i < max_put_modules && (places_[i].at == nullptr || places_[i].transfer != transfer))
        ++i;
    return i;
}

unsigned ModuleStore::free_place() const {
    unsigned i = 0;
    while (i < max_put_modules && places_[i].name[0] != 0) ++i;
    return i;
}

void ModuleStore::drop(unsigned place) {
    room_.drop(place);
    places_[place] = Entry{};
}

Failure ModuleStore::check_name_is_free(std::string_view name, bool replaces) {
    const bool is_there = find(name, true) != max_put_modules || room_.is_boot_module(name);
    if (!is_there) return {};
    if (!replaces)
        return refusal(FailureKind::wrong_state,
                       "there is a module '{}' with other contents; it can be replaced", name);
    if (const std::string_view user = room_.user_of(name); !user.empty())
        return refusal(FailureKind::wrong_state, "module '{}' cannot be replaced: in use by {}",
                       name, user);
    return {};
}

Failure ModuleStore::put(std::string_view name, std::uint64_t bytes, std::uint32_t crc,
                         bool replaces, std::uint64_t now, Arrival& arrival) {
    arrival = Arrival{};
    if (!is_good_name(name))
        return refusal(FailureKind::usage,
                       "a module's name has letters, digits, dots and dashes, {} at most",
                       max_name - 1);
    if (bytes == 0) return refusal(FailureKind::usage, "a module is not empty");
    if (const unsigned i = find(name, true); i != max_put_modules) {
        const Entry& e = places_[i];
        if (e.bytes == bytes && e.expected == crc) {
            arrival = {e.transfer, e.bytes, true};
            return {};
        }
    }
    if (const unsigned i = find(name, false); i != max_put_modules) {
        Entry& e = places_[i];
        if (e.bytes == bytes && e.expected == crc) {
            e.heard = now;
            e.replaces = replaces;
            arrival = {e.transfer, e.next, false};
            return {};
        }
        drop(i);
    }
    if (const Failure f = check_name_is_free(name, replaces); f.is_set()) return f;
    const unsigned place = free_place();
    if (place == max_put_modules)
        return refusal(FailureKind::no_memory, "{} modules have been put; remove one",
                       max_put_modules);
    Entry& e = places_[place];
    std::byte* at = nullptr;
    if (const Status s = room_.take(place, bytes, at); s != Status::ok)
        return refusal(s == Status::no_memory ? FailureKind::no_memory : FailureKind::failed,
                       "no memory for {} bytes: {}", bytes, to_text(s));
    name.copy(e.name, name.size());
    e.bytes = bytes;
    e.expected = crc;
    e.crc = frame::crc_begin;
    e.transfer = ++transfers_;
    e.heard = now;
    e.at = at;
    e.replaces = replaces;
    arrival = {e.transfer, 0, false};
    return {};
}

Failure ModuleStore::finish(Entry& e) {
    const auto place = static_cast<unsigned>(&e - places_);
    const std::uint32_t crc = frame::crc_end(e.crc);
    if (crc != e.expected)
        return refusal(FailureKind::failed, "module '{}' came damaged: its CRC-32 is {x}", e.name,
                       crc);
    // Somebody may have put or begun to use another meanwhile.
    if (const Failure f = check_name_is_free(e.name, e.replaces); f.is_set()) return f;
    if (const unsigned old = find(e.name, true); old != max_put_modules) drop(old);
    const Status s = room_.publish(place, e.name, e.bytes);
    if (s != Status::ok)
        return refusal(FailureKind::failed, "module '{}' cannot be kept: {}", e.name, to_text(s));
    e.at = nullptr;
    return {};
}

Failure ModuleStore::take(std::uint32_t transfer, std::uint64_t offset, std::string_view bytes,
                          std::uint64_t now, Arrival& arrival) {
    arrival = Arrival{};
    const unsigned place = find_transfer(transfer);
    if (place == max_put_modules)
        return refusal(FailureKind::not_found, "there is no transfer {}", transfer);
    Entry& e = places_[place];
    arrival = {transfer, e.next, false};
    if (offset > e.bytes || bytes.size() > e.bytes - offset)
        return refusal(FailureKind::usage, "a piece at {} is beyond the end, {} bytes", offset,
                       e.bytes);
    if (offset > e.next)
        return refusal(FailureKind::wrong_state, "a piece at {} where {} is next", offset, e.next);
    e.heard = now;
    const std::uint64_t known = e.next - offset;
    if (known >= bytes.size()) return {};
    bytes.remove_prefix(known);
    std::memcpy(e.at + e.next, bytes.data(), bytes.size());
    for (const char c : bytes) e.crc = frame::crc_step(e.crc, c);
    e.next += bytes.size();
    arrival.next = e.next;
    if (e.next != e.bytes) return {};
    const Failure f = finish(e);
    if (f.is_set())
        drop(place);
    else
        arrival.is_whole = true;
    return f;
}

Failure ModuleStore::remove(std::string_view name) {
    if (const unsigned i = find(name, false); i != max_put_modules) {
        drop(i);
        return {};
    }
    const unsigned i = find(name, true);
    if (i == max_put_modules && room_.is_boot_module(name))
        return refusal(FailureKind::wrong_state, "module '{}' was there when the node started",
                       name);
    if (i == max_put_modules)
        return refusal(FailureKind::not_found, "there is no module '{}'", name);
    if (const std::string_view user = room_.user_of(name); !user.empty())
        return refusal(FailureKind::wrong_state, "module '{}' cannot be removed: in use by {}",
                       name, user);
    drop(i);
    return {};
}

void ModuleStore::look(std::uint64_t now) {
    for (unsigned i = 0; i < max_put_modules; ++i)
        if (places_[i].at != nullptr && now - places_[i].heard >= patience_) drop(i);
}

std::uint64_t ModuleStore::next_look() const {
    std::uint64_t next = ~0ull;
    for (const Entry& e : places_)
        if (e.at != nullptr) next = std::min(next, e.heard + patience_);
    return next;
}

}  // namespace margay::init

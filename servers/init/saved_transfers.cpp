#include "servers/init/saved_transfers.hpp"

#include <algorithm>

#include "libipc/raw.hpp"
#include "libipc/system_call.hpp"
#include "servers/init/definition.hpp"

namespace margay::init {

namespace {

// How much clocks may differ, one in so many: a node that measures its own while the machine is busy is some parts in a
// hundred off.
constexpr std::uint64_t clock_tolerance = 4;

}  // namespace

Failure SavedTransfers::Session::open(const saved::Header& h, std::uint32_t pages, std::byte*& to) {
    Failure f;
    const std::uint64_t khz = node->info().tsc_khz;
    const std::uint64_t apart = h.tsc_khz > khz ? h.tsc_khz - khz : khz - h.tsc_khz;
    if (h.snapshot != snapshot) {
        f.set(FailureKind::usage, "it is another saved VM than was announced");
    } else if (h.ram_bytes != ram_bytes) {
        f.set(FailureKind::wrong_state, "it has {} MiB of memory, the VM has {}", h.ram_bytes >> 20,
              ram_bytes >> 20);
    } else if (h.further_cpus + 1u != cpus) {
        f.set(FailureKind::wrong_state, "it has {} vCPUs, the VM has {}", h.further_cpus + 1u,
              cpus);
    } else if (const CpuFeatures missing = h.features & ~cpu_features_of(raw::cpuid);
               missing != 0) {
        f.set(FailureKind::wrong_state, "its guest has seen a processor with {}, this one has none",
              first_cpu_feature(missing));
    } else if (apart > khz / clock_tolerance) {
        f.set(FailureKind::wrong_state, "its node's clock has {} kHz, this one's {}", h.tsc_khz,
              khz);
    }
    if (f.is_set()) return f;
    Ram ram;
    Status s = holdings.allocate_ram(std::uint64_t{pages} * page_size, any_node, ram);
    if (s == Status::ok) {
        const Result<std::uint64_t> here = holdings.map_here(ram, map_right::read_write);
        s = here.status();
        if (here) to = block = reinterpret_cast<std::byte*>(*here);
    }
    if (s != Status::ok)
        f.set(s == Status::no_memory ? FailureKind::no_memory : FailureKind::failed,
              "no memory for it: {}", to_text(s));
    return f;
}

unsigned SavedTransfers::find(std::uint32_t transfer) const {
    unsigned i = 0;
    while (i < count &&
           (sessions_[i].kind == Session::Kind::none || sessions_[i].transfer != transfer))
        ++i;
    return i;
}

void SavedTransfers::end(Session& s) {
    s.holdings.release();
    s.block = nullptr;
    s.reader.begin();
    s.kind = Session::Kind::none;
}

Outcome SavedTransfers::fail(Session* s, FailureKind kind, std::string_view why) {
    failure_.set(kind, "{}", why);
    if (s != nullptr) end(*s);
    return {false, failure_.text, false, 0, kind};
}

SavedTransfers::Session* SavedTransfers::free_session() {
    for (Session& s : sessions_)
        if (s.kind == Session::Kind::none) return &s;
    return nullptr;
}

void SavedTransfers::begin(Session& s, Session::Kind kind, unsigned vm, std::uint64_t snapshot) {
    s.kind = kind;
    s.transfer = first_number | ++numbers_;
    s.vm = vm;
    s.snapshot = snapshot;
    s.offset = 0;
    s.heard = rdtsc();
    s.node = node_;
    s.holdings.use(*node_);
}

Outcome SavedTransfers::get(unsigned vm, const VmPlace& place, std::uint64_t from,
                            std::uint64_t snapshot) {
    const Checkpoint& c = place.vm.checkpoint();
    if (!c.is_taken() || (snapshot != 0 && snapshot != c.taken_at()))
        return fail(nullptr, FailureKind::not_found, "that is not saved any more");
    const auto pages = static_cast<std::uint32_t>(c.bytes() / page_size);
    if (from > pages) return fail(nullptr, FailureKind::usage, "it has not so many pages");
    // Of one VM, one: somebody who went away does not hold a place.
    for (Session& s : sessions_)
        if (s.kind == Session::Kind::get && s.vm == vm) end(s);
    Session* const s = free_session();
    if (s == nullptr) return fail(nullptr, FailureKind::no_memory, "too many transfers at a time");
    static char definition[saved::max_payload];
    const unsigned length = write_definition(place.config, definition, sizeof(definition));
    if (length == 0) return fail(nullptr, FailureKind::failed, "its definition is too long");
    begin(*s, Session::Kind::get, vm, c.taken_at());
    saved::Header h;
    h.snapshot = c.taken_at();
    h.sequence = c.sequence();
    h.tsc_khz = node_->info().tsc_khz;
    h.features = c.features();
    const auto cpus = static_cast<unsigned>(place.config.cpus.count);
    h.further_cpus = static_cast<std::uint16_t>(cpus - 1);
    h.ram_bytes = c.bytes() - std::uint64_t{Checkpoint::pages_before_ram(cpus)} * page_size;
    s->writer.begin(h, {definition, length}, c.block(), pages, static_cast<std::uint32_t>(from));
    Outcome o;
    o.arrival = {s->transfer, from, false};
    return o;
}

Outcome SavedTransfers::put(unsigned vm, std::uint64_t snapshot) {
    Session* s = nullptr;
    for (Session& each : sessions_) {
        if (each.kind != Session::Kind::put || each.vm != vm) continue;
        if (each.snapshot == snapshot)
            s = &each;
        else
            end(each);
    }
    if (s == nullptr) s = free_session();
    if (s == nullptr) return fail(nullptr, FailureKind::no_memory, "too many transfers at a time");
    if (s->kind == Session::Kind::none) s->reader.begin();
    s->reader.go_on();
    begin(*s, Session::Kind::put, vm, snapshot);
    Outcome o;
    // Before the first page there are records that are about none.
    o.arrival = {s->transfer, s->reader.page(), false};
    return o;
}

Outcome SavedTransfers::send(Session& s, const VmPlace& place) {
    const Checkpoint& c = place.vm.checkpoint();
    if (!c.is_taken() || c.taken_at() != s.snapshot)
        return fail(&s, FailureKind::not_found, "that is not saved any more");
    Outcome o;
    o.arrival = {s.transfer, s.offset, false};
    const unsigned n = s.writer.read(bytes_, sizeof(bytes_));
    s.offset += n;
    o.bytes = {bytes_, n};
    if (n == 0 && s.writer.is_done()) {
        o.arrival.is_whole = true;
        end(s);
    }
    return o;
}

Outcome SavedTransfers::take(Session& s, VmPlace& place, std::string_view bytes) {
    s.ram_bytes = place.config.memory_mib << 20;
    s.cpus = static_cast<unsigned>(place.config.cpus.count);
    if (const Failure f = s.reader.take(bytes, s); f.is_set()) return fail(&s, f.kind, f.text);
    s.offset += bytes.size();
    Outcome o;
    o.arrival = {s.transfer, s.offset, false};
    if (!s.reader.is_whole()) return o;
    const saved::Header& h = s.reader.header();
    if (const Failure f = place.vm.adopt(s.holdings, s.block, h); f.is_set())
        return fail(&s, f.kind, f.text);
    // It is the VM's now.
    s.holdings = Holdings{};
    end(s);
    o.arrival.is_whole = true;
    return o;
}

Outcome SavedTransfers::move(std::uint32_t transfer, VmPlace& place, std::uint64_t offset,
                             std::string_view bytes) {
    Session& s = sessions_[find(transfer)];
    s.heard = rdtsc();
    if (s.kind == Session::Kind::get) return send(s, place);
    if (offset != s.offset) {
        // It may go on: what came is kept.
        failure_.set(FailureKind::wrong_state, "a piece at {} where {} is next", offset, s.offset);
        return {false, failure_.text, false, 0, FailureKind::wrong_state};
    }
    return take(s, place, bytes);
}

void SavedTransfers::forget(unsigned vm) {
    for (Session& s : sessions_)
        if (s.kind != Session::Kind::none && s.vm == vm) end(s);
}

void SavedTransfers::look(std::uint64_t now) {
    const std::uint64_t patience = node_->ticks(patience_ms * us_per_ms);
    for (Session& s : sessions_)
        if (s.kind != Session::Kind::none && now - s.heard >= patience) end(s);
}

std::uint64_t SavedTransfers::next_look() const {
    std::uint64_t next = ~0ull;
    for (const Session& s : sessions_)
        if (s.kind != Session::Kind::none)
            next = std::min(next, s.heard + node_->ticks(patience_ms * us_per_ms));
    return next;
}

}  // namespace margay::init

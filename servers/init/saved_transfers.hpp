// Saved VMs on their way to and from an operator's machine: a few at a time. Nothing waits; what nobody asks for any
// more is given up.
#pragma once
#include "servers/init/control/operations.hpp"
#include "servers/init/saved/reader.hpp"
#include "servers/init/saved/writer.hpp"
#include "servers/init/vm_place.hpp"

namespace margay::init {

class SavedTransfers {
  public:
    static constexpr unsigned count = 4;
    // Their numbers; those of modules are lower.
    static constexpr std::uint32_t first_number = 1u << 31;
    static constexpr std::uint64_t patience_ms = ModuleStore::patience_ms;

    void use(Node& node) { node_ = &node; }

    // Begins to send what is saved of the VM, from a page on; snapshot: which one it must be, unless it is 0.
    Outcome get(unsigned vm, const VmPlace& place, std::uint64_t from, std::uint64_t snapshot);
    // Begins to take what was saved, or goes on with that snapshot: from Arrival::next, a page, on.
    Outcome put(unsigned vm, std::uint64_t snapshot);
    bool has(std::uint32_t transfer) const { return find(transfer) != count; }
    unsigned vm_of(std::uint32_t transfer) const { return sessions_[find(transfer)].vm; }
    // Bytes of one that is put; or, without any, the question for more of one that is got: Outcome::bytes.
    Outcome move(std::uint32_t transfer, VmPlace& place, std::uint64_t offset,
                 std::string_view bytes);
    // The VM is no more.
    void forget(unsigned vm);

    void look(std::uint64_t now);
    std::uint64_t next_look() const;  // TSC

  private:
    struct Session final : saved::Target {
        Failure open(const saved::Header& header, std::uint32_t pages, std::byte*& block) override;

        enum class Kind : std::uint8_t { none, get, put } kind = Kind::none;
        std::uint32_t transfer = 0;
        unsigned vm = 0;
        std::uint64_t snapshot = 0, offset = 0, heard = 0;
        saved::Writer writer;
        saved::Reader reader{Checkpoint::pages_before_ram(1)};
        // Of one that is put.
        std::uint64_t ram_bytes = 0;  // that the VM has
        unsigned cpus = 1;            // likewise
        Node* node = nullptr;
        Holdings holdings;
        std::byte* block = nullptr;
    };

    unsigned find(std::uint32_t transfer) const;
    Session* free_session();
    void begin(Session& s, Session::Kind kind, unsigned vm, std::uint64_t snapshot);
    static void end(Session& s);
    Outcome fail(Session* s, FailureKind kind, std::string_view why);
    Outcome send(Session& s, const VmPlace& place);
    Outcome take(Session& s, VmPlace& place, std::string_view bytes);

    Node* node_ = nullptr;
    Session sessions_[count];
    std::uint32_t numbers_ = 0;
    Failure failure_;
    char bytes_[1000];
};

}  // namespace margay::init

// Modules that are put over the control line: what of each has come, whether it is what was announced, and when it
// is given up. Pure logic; memory comes from a ModuleRoom. Nothing here waits, and each step is bounded.
#pragma once
#include <cstddef>

#include "proto/status.hpp"
#include "servers/init/failure.hpp"
#include "servers/init/manifest.hpp"

namespace margay::init {

constexpr unsigned max_put_modules = 16;

// What the store asks of the node. place: below max_put_modules.
class ModuleRoom {
  public:
    // Memory for so many bytes, which are written at `at`.
    virtual Status take(unsigned place, std::uint64_t bytes, std::byte*& at) = 0;
    // It is whole: nobody writes to it any more, and VMs find it by its name, which stays where it is.
    virtual Status publish(unsigned place, const char* name, std::uint64_t bytes) = 0;
    // The memory goes back, and the name is gone if it was published.
    virtual void drop(unsigned place) = 0;
    virtual bool is_boot_module(std::string_view name) = 0;
    // Who uses the module of that name; empty: nobody.
    virtual std::string_view user_of(std::string_view name) = 0;

  protected:
    ~ModuleRoom() = default;
};

// How far a module has come.
struct Arrival {
    std::uint32_t transfer = 0;  // by which its pieces are known
    std::uint64_t next = 0;      // the first byte that is missing
    bool is_whole = false;
};

class ModuleStore {
  public:
    // Whoever has sent nothing for so long has gone.
    static constexpr std::uint64_t patience_ms = 600'000;

    ModuleStore(ModuleRoom& room, std::uint64_t ticks_per_ms)
        : room_{room}, patience_{patience_ms * ticks_per_ms} {}

    // Announces a module, or asks how far it has come: one with the same name, size and CRC-32 goes on from where it
    // was. replaces: a module of that name may be there already, if nobody uses it. now: ticks.
    Failure put(std::string_view name, std::uint64_t bytes, std::uint32_t crc, bool replaces,
                std::uint64_t now, Arrival& arrival);
    // A piece of one. A repeated piece is no error; one that leaves a gap, or is beyond the end, is, and is not taken.
    // What is whole and not as announced is gone.
    Failure take(std::uint32_t transfer, std::uint64_t offset, std::string_view bytes,
                 std::uint64_t now, Arrival& arrival);
    // Also one that is still to come.
    Failure remove(std::string_view name);

    // Gives up what has been waited for too long.
    void look(std::uint64_t now);
    std::uint64_t next_look() const;  // ticks

    // By place. Null: there is none.
    struct Entry {
        char name[max_name] = {};
        std::uint64_t bytes = 0, next = 0;
        std::uint32_t expected = 0, crc = 0, transfer = 0;
        std::uint64_t heard = 0;  // ticks
        std::byte* at = nullptr;  // null once it is whole
        bool replaces = false;
    };
    const Entry* entry(unsigned place) const {
        return places_[place].name[0] != 0 ? &places_[place] : nullptr;
    }

  private:
    // max_put_modules if there is none.
    unsigned find(std::string_view name, bool whole) const;
    unsigned find_transfer(std::uint32_t transfer) const;
    unsigned free_place() const;
    void drop(unsigned place);
    Failure check_name_is_free(std::string_view name, bool replaces);
    Failure finish(Entry& e);

    ModuleRoom& room_;
    std::uint64_t patience_;
    Entry places_[max_put_modules];
    std::uint32_t transfers_ = 0;
};

}  // namespace margay::init

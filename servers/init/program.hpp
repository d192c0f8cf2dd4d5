// A server: its Domain, image, stack, start-up block and main thread.
#pragma once
#include "libipc/mapping.hpp"
#include "proto/startup.hpp"
#include "servers/init/holdings.hpp"

namespace margay::init {

struct ProgramOptions {
    std::string_view module;  // the ELF image
    std::string_view name;    // shown in reports
    unsigned core = 0;
    unsigned priority = 0;
    std::uint64_t slots = 256;
    std::uint64_t mappings = 128;
    std::uint64_t stack_bytes = 256 << 10;
    std::uint64_t table_bytes = 512 << 10;  // pool for its page tables
};

class Program {
  public:
    Program(Node& node, const ProgramOptions& options) : node_{node}, options_{options} {
        holdings_.use(node);
    }

    // Domain, image and stack. On failure why() tells what was wrong.
    Status load();
    // The same in pieces, for callers that have something else to do meanwhile: call it until is_loaded().
    Status load_piece();
    bool is_loaded() const { return startup_ != nullptr; }
    const char* why() const { return why_; }

    // What the program is given. After load(), before start().
    // Maps an extent into it at `address`.
    Status give_mapping(std::string_view name, const Extent& e, std::uint64_t address,
                        std::uint64_t rights, std::uint64_t value = 0, std::uint64_t length = 0);
    Status give_mapping(std::string_view name, const Ram& ram, std::uint64_t address,
                        std::uint64_t rights);
    // At an address that agrees with the physical one, for large pages.
    Status give_module(std::string_view name, const Module& module, std::uint64_t address);
    // Copies a capability into its table.
    Status give_capability(std::string_view name, Slot slot, std::uint8_t rights = right::all,
                           std::uint64_t badge = 0, std::uint64_t value = 0);
    // Several, in slots that follow each other; the item has the first, and how many. slot(i): of number i.
    template <typename SlotOf>
    Status give_capabilities(std::string_view name, unsigned count, SlotOf slot,
                             std::uint8_t rights, std::uint64_t badge = 0) {
        Status s = Status::ok;
        const Slot first = next_slot_;
        for (unsigned i = 0; s == Status::ok && i < count; ++i)
            s = copy(slot(i), domain_, next_slot_++, rights, badge);
        StartupItem* item = s == Status::ok ? new_item(name) : nullptr;
        if (s != Status::ok) return s;
        if (item == nullptr) return Status::no_memory;
        item->slot = first;
        item->value = count;
        return s;
    }
    // Maps an extent, and memory of its own, at an address that it knows.
    Status map_at(const Extent& e, std::uint64_t address, std::uint64_t rights) {
        return map_all(e, domain_, address, 0, e.size, rights);
    }
    Status give_room(std::uint64_t address, std::uint64_t bytes);
    // Both at once: the mapping's item also carries the capability.
    Status give_channel(std::string_view name, const Extent& memory, std::uint64_t address,
                        Slot event, std::uint64_t bits);
    void give_value(std::string_view name, std::uint64_t value);

    // Creates the main thread. It does not run yet: portals can be bound to it.
    // quiet: the kernel does not report its fault, whoever is signalled does.
    Status make_thread(Slot death_event, std::uint64_t death_bits, bool quiet = false);
    Status start();
    // Another thread, with a stack of its own; it begins as the main thread does, with `number`, 1 and more, added to
    // the argument. Its creator starts it; what it is made of is held by `from`.
    Status make_further_thread(Holdings& from, Slot& thread, unsigned core, unsigned number,
                               Slot death_event, std::uint64_t death_bits);
    Holdings& holdings() { return holdings_; }
    // Ends it: its memory and everything in it goes back.
    void release() { holdings_.release(); }
    bool release_piece() { return holdings_.release_piece(); }

    Slot domain() const { return domain_; }
    Slot thread() const { return thread_; }
    const ProgramOptions& options() const { return options_; }
    // Of a program that ended: a word of its stack, false if the address is elsewhere.
    bool read_stack(std::uint64_t address, std::uint64_t& word) const;
    const Image* image() const { return image_; }

  private:
    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status create_domain();
    Status load_segment(const ElfSegment& segment);
    Status load_stack();
    Status make_block();
    StartupItem* new_item(std::string_view name);
    // Tells the program what has been mapped there, if that went well.
    Status tell(Status mapped, std::string_view name, std::uint64_t address, std::uint64_t size,
                std::uint64_t value = 0);

    Node& node_;
    Holdings holdings_;
    ProgramOptions options_;
    Startup* startup_ = nullptr;
    Slot domain_ = no_slot;
    Slot thread_ = no_slot;
    Slot next_slot_ = 1;
    const Image* image_ = nullptr;
    unsigned next_segment_ = 0;
    const std::uint8_t* stack_ = nullptr;  // its lowest byte, mapped here
    const char* why_ = "";
};

}  // namespace margay::init

// A server: its Domain, image, stack, start-up block and main thread.
#pragma once
#include "proto/startup.hpp"
#include "servers/init/node.hpp"

namespace margay::init {

struct ProgramOptions {
    std::string_view module;  // boot module with the ELF image
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
    Program(Node& node, const ProgramOptions& options) : node_{node}, options_{options} {}

    // Domain, image and stack. On failure why() tells what was wrong.
    Status load();
    const char* why() const { return why_; }

    // What the program is given. After load(), before start().
    // Maps an extent into it at `address`.
    Status give_mapping(std::string_view name, const Extent& e, std::uint64_t address,
                        std::uint64_t rights, std::uint64_t value = 0, std::uint64_t length = 0);
    // Copies a capability into its table.
    Status give_capability(std::string_view name, Slot slot, std::uint8_t rights = right::all,
                           std::uint64_t badge = 0, std::uint64_t value = 0);
    // Both at once: the mapping's item also carries the capability.
    Status give_channel(std::string_view name, const Extent& memory, std::uint64_t address,
                        Slot event, std::uint64_t bits);
    void give_value(std::string_view name, std::uint64_t value);

    // Creates the main thread. It does not run yet: portals can be bound to it.
    Status make_thread(Slot death_event, std::uint64_t death_bits);
    Status start();

    Slot domain() const { return domain_; }
    Slot thread() const { return thread_; }
    const ProgramOptions& options() const { return options_; }

  private:
    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status load_segments(const std::uint8_t* image);
    StartupItem* new_item(std::string_view name);

    Node& node_;
    ProgramOptions options_;
    Startup* startup_ = nullptr;
    Slot domain_ = no_slot;
    Slot thread_ = no_slot;
    Slot next_slot_ = 1;
    std::uint64_t entry_ = 0;
    std::uint64_t symbols_ = 0;
    const char* why_ = "";
};

}  // namespace margay::init

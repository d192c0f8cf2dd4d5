// pmem and the one that clears, and init's requests to them. pmem decides which ranges of memory are whose; the
// capabilities are init's own, so that they outlive it, and so do its books. When pmem dies it is started again at once,
// within the request that finds it dead.
#pragma once
#include <optional>

#include "servers/init/life/service_life.hpp"
#include "servers/init/node.hpp"
#include "servers/init/pmem_watch.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

class MemoryService final : public MemorySource {
  public:
    // Bits of init's Event: pmem has died; a piece has been cleared; the one that clears has died.
    struct Bits {
        std::uint64_t died, cleared, clearer_died;
    };

    // All free RAM is pmem's, apart from what init keeps for itself and for pmem's own process: the node's memory until
    // start(). On failures why() tells.
    Status take_all(Node& node);
    Status start(Slot event, const Bits& bits);
    // Bytes of RAM that pmem was not given, because there are too many ranges.
    std::uint64_t unused_ram() const { return unused_ram_; }
    const char* why() const { return why_; }

    Status ask(Message& m) override;
    Slot root(std::uint64_t index) const override {
        return index < roots_ ? root_[index] : no_slot;
    }
    void release(std::uint64_t base) override;
    bool await_cleared() override;
    MemoryUse use(std::uint64_t numa_node = any_node) override;

    // What has happened to them. bits: what was signalled.
    void look(std::uint64_t bits);
    std::uint64_t next_look() const;  // TSC
    // For tests. False: there is none.
    bool kill();
    bool is_running() const { return life_.state() == ServiceLife::State::running; }
    unsigned deaths() const { return life_.deaths() + clearer_life_.deaths(); }

  private:
    static constexpr unsigned max_roots = 60, max_owed = 256;

    Status fail_with(const char* why, Status s) {
        why_ = why;
        return s;
    }
    Status prepare();
    Status load(Program& program);
    bool run();
    void died(const char* why, bool killed, unsigned weight = 1);
    // In a request or its start.
    void ended_at_work();
    void watch_clearer();
    Status load_clearer();
    void run_clearer();
    bool next_piece(bool wants_more);

    Node* node_ = nullptr;
    Slot event_ = no_slot;
    Bits bits_{};
    Slot root_[max_roots];
    std::uint32_t root_node_[max_roots];
    unsigned roots_ = 0;
    std::uint64_t unused_ram_ = 0;

    Extent own_;   // what pmem's process is made of
    Extent book_;  // its books
    std::optional<Program> pmem_;
    Slot portal_ = no_slot;
    ServiceLife life_;
    PmemWatch watch_;
    bool answered_ = false;        // this pmem has answered a request
    Status failure_ = Status::ok;  // of its last start
    bool is_open_ = false;         // the node's memory comes from it
    std::uint64_t ticket_ = 0;
    std::uint64_t owed_[max_owed];  // what it was not there to take back
    unsigned owed_count_ = 0;

    Extent work_memory_;
    ClearWork* work_ = nullptr;
    Slot dirty_ = no_slot, never_ = no_slot;
    std::optional<Program> clearer_;
    ServiceLife clearer_life_;
    ServiceWatch clearer_watch_;  // while it has a piece in hand
    bool clearer_hung_ = false;
    bool has_piece_ = false;  // there is one in hand
    const char* why_ = "";
};

}  // namespace margay::init

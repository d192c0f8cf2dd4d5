#pragma once

#include "proto/console.hpp"
#include "servers/vmm/board.hpp"
#include "servers/vmm/state/convert.hpp"
#include "servers/vmm/vcpu/guest_console.hpp"
#include "servers/vmm/vm_layout.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

/// A VM without a vCPU: what outlives its VMM in one piece of memory, and exits that are function calls.
namespace margay::vmm::kill {

inline constexpr std::size_t ram_bytes = 0x4000;

/// All that a successor finds: the region, guest RAM and the console's rings.
struct Remains {
    Region region;
    alignas(64) ConsoleChannel console;
    alignas(4096) std::byte ram[ram_bytes];
};

/// A VMM over the remains. Everything in here dies with it.
class Vmm final : private Clock, private ConsoleSink, private MachineControl, private GuestMemory {
  public:
    /// `pending`: as the kernel reports it. The region is attached to, or created if it is blank.
    Vmm(Remains& remains, std::uint64_t pending);

    /// What the glue does with an exit, around the part that is the exit's own.
    template <typename Body>
    void handle(std::uint64_t sequence, const Body& body) {
        begin(sequence);
        body(*this);
        finish();
    }

    Board& board() noexcept { return *reinterpret_cast<Board*>(board_memory_); }
    void read_console();
    std::uint64_t now_ns() override { return now_; }

    /// Attaching alone, to be cut off.
    static void attach_to(Remains& remains, std::uint64_t pending);

  private:
    void begin(std::uint64_t sequence);
    void finish();

    std::uint64_t tsc() override { return 2 * now_ + glue_->tsc_adjust; }
    void adjust_tsc(std::uint64_t delta) override { glue_.edit().tsc_adjust += delta; }
    void put(std::uint8_t byte) override { console_.put(byte); }
    void input_room() override { read_console(); }
    void power_off() override {}
    void reset() override {}
    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override;

    Remains& remains_;
    std::uint64_t now_ = 0;
    Transaction transaction_;
    VmState& state_;
    GuestWords words_;
    Journaled<VcpuGlueState> glue_;
    GuestConsole console_;
    alignas(Board) std::byte board_memory_[sizeof(Board)];
};

/// A layout that differs from this build's: the same sections at other places.
[[nodiscard]] Layout foreign_layout();

}  // namespace margay::vmm::kill

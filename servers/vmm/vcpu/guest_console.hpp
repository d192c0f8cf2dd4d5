#pragma once

#include "proto/console.hpp"
#include "servers/vmm/state/journaled.hpp"
#include "servers/vmm/vcpu/console_state.hpp"

namespace margay::vmm {

/// The guest's serial line in the rings shared with the console, each byte exactly once.
///
/// The rings' own indices are what outlives the VMM and what the console acts upon: a byte is published
/// before the exit that sent it is committed. So the guest's positions are kept in the journal. A replay
/// starts from the position before the exit; what lies before the ring's head has been published already.
/// Input is looked at where it lies, and given up to the console only when the exit that took it is
/// committed. All vCPUs share the positions: nothing is called without BoardLock.
class GuestConsole {
  public:
    GuestConsole(Journaled<ConsoleState> state, const Transaction& transaction,
                 ConsoleChannel& channel) noexcept
        : state_{state}, transaction_{transaction}, channel_{channel} {}

    /// Where a new VM begins: with what is in the rings then. The supervisor has taken out what was typed
    /// for the one before.
    static void reset(ConsoleState& state, const ConsoleChannel& channel) noexcept {
        state.output = channel.output.head();
        state.input = channel.input.tail();
    }

    /// For a VM that was saved: what was sent and typed since is not its own.
    void begin_anew() noexcept { reset(state_.edit(), channel_); }

    /// A byte from the guest. When the ring is full it is dropped, and so are all that follow in the same
    /// exit: what was published of an exit must be a beginning of what it sent, or a replay would skip the
    /// wrong bytes.
    void put(std::uint8_t byte) noexcept {
        if (full_in_ == transaction_.number()) [[unlikely]] {
            return;
        }
        std::uint32_t position = state_->output;
        auto& state = state_.edit();
        if (channel_.output.put_at(position, static_cast<char>(byte))) {
            state.output = position;
        } else {
            full_in_ = transaction_.number();
        }
    }

    /// To be called before the first peek() of a read.
    void release_input() noexcept { channel_.input.release(state_.committed().input); }
    /// The next byte typed. False: there is none.
    [[nodiscard]] bool peek(char& byte) const noexcept {
        return channel_.input.peek(state_->input, byte);
    }
    /// The byte seen by peek() was taken.
    void take() noexcept { ++state_.edit().input; }

  private:
    static constexpr std::uint64_t never = ~std::uint64_t{0};

    Journaled<ConsoleState> state_;
    const Transaction& transaction_;
    ConsoleChannel& channel_;
    std::uint64_t full_in_ = never;  ///< the transaction in which the output ring was full
};

}  // namespace margay::vmm

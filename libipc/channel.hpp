// The client's side of a console channel.
#pragma once
#include "libipc/system_call.hpp"
#include "proto/console.hpp"

namespace margay {

class ChannelClient {
  public:
    ChannelClient() = default;
    ChannelClient(ConsoleChannel* channel, Slot event, std::uint64_t bit)
        : channel_{channel}, event_{event}, bit_{bit} {}

    // False if the ring is full: the byte is dropped.
    bool put(char c) { return channel_ != nullptr && channel_->output.put(c); }
    bool get(char& c) { return channel_ != nullptr && channel_->input.get(c); }
    bool has_input() const { return channel_ != nullptr && !channel_->input.is_empty(); }
    // Wakes the console if it sleeps and there is something to show.
    void flush() {
        if (channel_ == nullptr || channel_->wants_doorbell.load() == 0 ||
            channel_->output.is_empty())
            return;
        channel_->wants_doorbell.store(0);
        (void)signal(event_, bit_);
    }

    // Wakes the console whether it asked for that or not. For the successor of a client that may have been
    // stopped in flush(), after it took note of the wish and before it rang.
    void ring() { (void)signal(event_, bit_); }
    // Null: there is none.
    ConsoleChannel* channel() const { return channel_; }

  private:
    ConsoleChannel* channel_ = nullptr;
    Slot event_ = no_slot;
    std::uint64_t bit_ = 0;
};

}  // namespace margay

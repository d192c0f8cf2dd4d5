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
    // Bytes that can be put. Without a channel they go nowhere.
    std::uint32_t room() const { return channel_ != nullptr ? channel_->output.room() : ~0u; }
    bool get(char& c) {
        if (channel_ == nullptr || !channel_->input.get(c)) return false;
        tell_room();
        return true;
    }
    bool has_input() const { return channel_ != nullptr && !channel_->input.is_empty(); }
    // Wakes the console if it waits for room in the input ring and there is some again. get() does that; who
    // takes input in another way calls it afterwards.
    void tell_room() {
        if (channel_ == nullptr || channel_->wants_room.load() == 0 ||
            channel_->input.room() < channel_->input.capacity / 2)
            return;
        channel_->wants_room.store(0);
        ring();
    }
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
    void ring() const { (void)signal(event_, bit_); }
    // Null: there is none.
    ConsoleChannel* channel() const { return channel_; }

  private:
    ConsoleChannel* channel_ = nullptr;
    Slot event_ = no_slot;
    std::uint64_t bit_ = 0;
};

}  // namespace margay

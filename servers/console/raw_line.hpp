// A channel that has a serial line to itself: bytes go both ways as they are. Pure logic over the
// port, so that host tests run it.
//
// Nothing is lost on the node's side. Bytes that the line does not take yet stay in the output ring,
// whose client sees that it is full; bytes that the input ring has no room for stay in the UART.
#pragma once
#include "proto/console.hpp"

namespace margay::console {

class RawPort {
  public:
    // False if the line takes no byte now. Never waits.
    virtual bool try_put(char c) = 0;
    // False if nothing was received.
    virtual bool get(char& c) = 0;

  protected:
    ~RawPort() = default;
};

class RawLine {
  public:
    struct Turn {
        bool moved = false;     // bytes went in or out
        bool received = false;  // bytes for the client
        bool waiting = false;   // bytes are left that a ring or the line has no room for
    };

    RawLine(RawPort& port, ConsoleChannel& channel) : port_{port}, channel_{channel} {}

    // Moves what can be moved; bounded, so that neither a broken line nor a client that never stops
    // keeps the console from its other work.
    Turn move();

  private:
    static constexpr unsigned turn_bytes = 4096;

    RawPort& port_;
    ConsoleChannel& channel_;
    // A byte that was taken from one side and that the other has not taken yet.
    char out_ = 0, in_ = 0;
    bool has_out_ = false, has_in_ = false;
};

}  // namespace margay::console

#include "servers/console/raw_line.hpp"

namespace margay::console {

RawLine::Turn RawLine::move() {
    Turn turn;
    unsigned left = turn_bytes;
    for (; left != 0; --left) {
        if (!has_out_ && !channel_.output.get(out_)) break;
        has_out_ = !port_.try_put(out_);
        if (has_out_) break;
        turn.moved = true;
    }
    turn.waiting = has_out_ || left == 0;
    for (left = turn_bytes; left != 0; --left) {
        if (!has_in_ && !port_.get(in_)) break;
        has_in_ = !channel_.input.put(in_);
        if (has_in_) break;
        turn.moved = turn.received = true;
    }
    turn.waiting |= has_in_ || left == 0;
    return turn;
}

}  // namespace margay::console

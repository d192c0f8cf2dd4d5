// Steps of the console that are done as a whole, whenever it dies.
#pragma once
#include "support/undo_log.hpp"

namespace margay::console {

using Undo = UndoLog<2048>;

// A flag as a process before this one left it.
inline void make_sound(bool& flag) {
    unsigned char byte;
    std::memcpy(&byte, &flag, sizeof(byte));
    flag = byte != 0;
}

}  // namespace margay::console

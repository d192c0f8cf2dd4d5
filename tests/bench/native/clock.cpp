// Says the time-stamp counter: tools/native_2cpu.py compares its pace with the host's clock.
#include "rounds.hpp"

int main() {
    say_clock();
    return 0;
}

// Faults in a function of its own, in init's place: the report names it and who called.
#include "libipc/start.hpp"
#include "tests/support.hpp"

namespace {

[[gnu::noinline]] void deliberate_fault(volatile std::uint64_t* nowhere) {
    *nowhere = 1;
    asm volatile("");
}

}  // namespace

void program_main(std::uint64_t) {
    deliberate_fault(reinterpret_cast<volatile std::uint64_t*>(0x40));
    margay::test::end(true);
}

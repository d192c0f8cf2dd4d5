// The production console or pmem, but that it spins wherever it is when it has done so much: in a turn or request, in a step
// that is half done, in its start if that never ends. Its successor begins to count anew.
#include <cstdint>

namespace {

constexpr std::uint64_t blocks_of_a_life = MARGAY_BLOCKS_OF_A_LIFE;
std::uint64_t blocks = 0;

}  // namespace

// The compiler calls it at the beginning of each basic block.
extern "C" [[gnu::no_sanitize_coverage]] void __sanitizer_cov_trace_pc() {
    if (++blocks < blocks_of_a_life) return;
    for (;;) asm volatile("pause");
}

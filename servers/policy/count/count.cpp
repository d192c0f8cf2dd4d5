// Counts exits by class and forwards them all: what a first policy looks like.
#include "libipc/start.hpp"
#include "servers/policy/library/policy.hpp"

namespace {

using namespace margay;

class Count {
  public:
    Count() {
        for (unsigned c = 0; c < exit_classes; ++c)
            counts_[c] = &policy::figure(c, to_text(static_cast<ExitClass>(c)));
    }
    policy::Answer on_exit(const policy::Exit& e) {
        counts_[static_cast<unsigned>(e.exit_class)]->fetch_add(1, std::memory_order_relaxed);
        return policy::forward();
    }

  private:
    std::atomic<std::uint64_t>* counts_[exit_classes];
};

}  // namespace

MARGAY_POLICY(Count)

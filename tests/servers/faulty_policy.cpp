// A policy that fails at its 100th exit, in the way that its options say: "die", "hang", "lie" (a reply that the kernel
// refuses), "scribble" (over the page that it shares with init).
#include "libipc/start.hpp"
#include "servers/policy/library/policy.hpp"

namespace {

using namespace margay;

class Faulty {
  public:
    policy::Answer on_exit(const policy::Exit&) {
        const std::string_view how = policy::options();
        if (++exits_ < 100) return policy::forward();
        if (how == "die") __builtin_trap();
        if (how == "hang")
            for (;;) asm volatile("pause");
        if (how == "lie") return {static_cast<Action>(77)};
        if (how == "scribble") {
            auto* page = reinterpret_cast<volatile unsigned char*>(policy_page_address);
            for (unsigned i = 4; i < 4096; ++i) page[i] = 0xff;
            exits_ = 0;
        }
        return policy::forward();
    }

  private:
    std::atomic<unsigned> exits_ = 0;
};

}  // namespace

MARGAY_POLICY(Faulty)

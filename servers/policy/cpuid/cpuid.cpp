// Answers a leaf of CPUID with values of its own: "LEAF:SUBLEAF=EAX,EBX,ECX,EDX" in hexadecimal; all others go to the VMM.
#include "libipc/start.hpp"
#include "servers/policy/library/policy.hpp"

namespace {

using namespace margay;

class Cpuid {
  public:
    Cpuid() : given_{policy::figure(0, "answered")} {
        std::string_view text = policy::options();
        for (std::uint32_t* word :
             {&leaf_, &subleaf_, &value_[0], &value_[1], &value_[2], &value_[3]})
            if (!take(text, *word)) policy::refuse("the options are LEAF:SUBLEAF=EAX,EBX,ECX,EDX");
        if (!text.empty()) policy::refuse("the options are LEAF:SUBLEAF=EAX,EBX,ECX,EDX");
    }
    policy::Answer on_exit(const policy::Exit& e) {
        if (e.exit_class != ExitClass::cpuid || static_cast<std::uint32_t>(e.detail0) != leaf_ ||
            static_cast<std::uint32_t>(e.detail1) != subleaf_)
            return policy::forward();
        e.state.gpr[gpr_rax] = value_[0];
        e.state.gpr[gpr_rbx] = value_[1];
        e.state.gpr[gpr_rcx] = value_[2];
        e.state.gpr[gpr_rdx] = value_[3];
        given_.fetch_add(1, std::memory_order_relaxed);
        return policy::skip_with_low_registers();
    }

  private:
    // A hexadecimal number and the sign behind it; false if there is none.
    static bool take(std::string_view& text, std::uint32_t& word) {
        std::size_t n = 0;
        word = 0;
        for (; n < text.size() && n < 8; ++n) {
            const char c = text[n];
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                     : -1;
            if (digit < 0) break;
            word = word << 4 | static_cast<unsigned>(digit);
        }
        const bool is_number = n != 0;
        text.remove_prefix(n);
        if (!text.empty() && (text[0] == ':' || text[0] == '=' || text[0] == ','))
            text.remove_prefix(1);
        return is_number;
    }

    std::uint32_t leaf_ = 0, subleaf_ = 0, value_[4] = {};
    std::atomic<std::uint64_t>& given_;
};

}  // namespace

MARGAY_POLICY(Cpuid)

// What is told of all that IOMMUs keep from happening.
#include <gtest/gtest.h>

#include "ukernel/arch/x86_64/iommu/fault.hpp"

namespace margay::iommu {
namespace {

TEST(IommuReports, AStormIsToldInAFewLines) {
    FaultReports r;
    unsigned lines = 0;
    for (unsigned n = 1; n <= 1000; ++n) {
        const std::uint64_t told = r.tell(0x20);
        if (told == 0) continue;
        EXPECT_EQ(told, n);
        ++lines;
    }
    EXPECT_EQ(lines, 10u);
    EXPECT_EQ(r.tell(0x28), 1u) << "another one is heard";
}

TEST(IommuReports, ThereIsAnEnd) {
    FaultReports r;
    // Functions that take each other's place in the books.
    unsigned lines = 0, taken = 0;
    for (; !r.is_exhausted(); ++taken) {
        r.take();
        lines += r.tell(static_cast<Requester>(64 * (taken % 7))) != 0 ? 1 : 0;
    }
    EXPECT_EQ(lines, FaultReports::between);
    EXPECT_TRUE(r.begin());
    EXPECT_FALSE(r.is_exhausted());
    EXPECT_FALSE(r.begin()) << "it was not silent";
    for (taken = 0; !r.is_exhausted(); ++taken) r.take();
    EXPECT_EQ(taken, FaultReports::taken_at_once);
}

}  // namespace
}  // namespace margay::iommu

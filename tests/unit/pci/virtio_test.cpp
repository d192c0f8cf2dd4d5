#include "servers/pci/virtio.hpp"

#include "model.hpp"

namespace margay::pci {
namespace {

// A function with a window onto its registers in configuration space.
class Virtio final : public Config {
  public:
    static constexpr unsigned common_at = 0x40, window_at = 0x54;
    static constexpr std::uint32_t base = 0x100;

    Virtio() {
        machine.add(0, 3, 0, 0x10411af4)
            .capability(0x09, window_at)
            .set(window_at + 2, 20, 1)
            .set(window_at + 3, 5, 1)
            .capability(0x09, common_at)
            .set(common_at + 2, 16, 1)
            .set(common_at + 3, 1, 1)
            .set(common_at + 4, 4, 1)
            .set(common_at + 8, base, 4)
            .set(common_at + 12, 0x38, 4);
        model::Function& f = machine.at({0, 3, 0});
        for (unsigned i = 4; i < 16; ++i) f.writable[window_at + i] = 0xff;
    }
    bool has_extended() const override { return false; }
    std::uint32_t read(Address a, unsigned offset) override {
        if (offset != window_at + 16) return machine.read(a, offset);
        EXPECT_EQ(machine.read(a, window_at + 4) & 0xff, 4u);
        EXPECT_EQ(machine.read(a, window_at + 12), 4u);
        if (is_broken) return ~0u;
        if (machine.read(a, window_at + 8) == base) return selected;
        EXPECT_EQ(machine.read(a, window_at + 8), base + 4);
        return selected == 1 ? high_features : 0xffff'fffe;
    }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        if (offset != window_at + 16) return machine.write(a, offset, value);
        EXPECT_EQ(machine.read(a, window_at + 8), base);
        selected = value;
    }
    bool bypasses() {
        Function f;
        EXPECT_TRUE(read_function(*this, {0, 3, 0}, f));
        return bypasses_iommu(*this, f);
    }

    model::Machine machine;
    std::uint32_t selected = 0, high_features = 3;  // VERSION_1, ACCESS_PLATFORM
    bool is_broken = false;
};

TEST(PciVirtio, OnlyWithTheFeature) {
    Virtio v;
    EXPECT_FALSE(v.bypasses());
    v.high_features = 1;
    EXPECT_TRUE(v.bypasses());
    v.high_features = 2;
    EXPECT_FALSE(v.bypasses());
    v.is_broken = true;
    EXPECT_TRUE(v.bypasses());
}

TEST(PciVirtio, WhoCannotBeAskedDoesNotOfferIt) {
    for (const unsigned gone : {Virtio::common_at, Virtio::window_at}) {
        Virtio v;
        v.machine.at({0, 3, 0}).set(gone + 3, 7, 1);
        EXPECT_TRUE(v.bypasses());
    }
    Virtio circle;
    circle.machine.at({0, 3, 0})
        .set(Virtio::common_at + 3, 7, 1)
        .set(Virtio::common_at + 1, Virtio::common_at, 1);
    EXPECT_TRUE(circle.bypasses());
    Virtio legacy;
    legacy.machine.at({0, 3, 0}).set(reg::device, 0x1000, 2).set(reg::status, 0, 2);
    EXPECT_TRUE(legacy.bypasses());
}

TEST(PciVirtio, OthersAreNotAsked) {
    Virtio v;
    v.high_features = 0;
    v.machine.at({0, 3, 0}).set(reg::device, 0x1110, 2);  // no virtio device of that vendor
    EXPECT_FALSE(v.bypasses());
    v.machine.at({0, 3, 0}).set(reg::vendor, 0x10411b36, 4);
    EXPECT_FALSE(v.bypasses());
}

}  // namespace
}  // namespace margay::pci

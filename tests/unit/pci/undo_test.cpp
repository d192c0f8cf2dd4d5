#include "servers/pci/undo.hpp"

#include "model.hpp"
#include "servers/pci/topology.hpp"

namespace margay::pci {
namespace {

// Dies at a write.
class Mortal final : public Config {
  public:
    struct Death {};
    Mortal(Config& inner, unsigned lives) : inner_{inner}, lives_{lives} {}
    bool has_extended() const override { return inner_.has_extended(); }
    std::uint32_t read(Address a, unsigned offset) override { return inner_.read(a, offset); }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        if (lives_-- == 0) throw Death{};
        inner_.write(a, offset, value);
    }

  private:
    Config& inner_;
    unsigned lives_;
};

struct PciUndo : testing::Test {
    void SetUp() override {
        machine.add(0, 2, 0, 0x00101b36, 0x010802).bar(0, 4, 0xe000000000, 0x4000).express(0, true);
        machine.add(0, 3, 0, 0x10d38086)
            .bar(0, 0, 0xfe000000, 0x20000)
            .bar(1, 0, 0xfe020000, 0x20000)
            .bar(2, 1, 0xc000, 32)
            .bar(3, 0, 0xfe040000, 0x4000);
    }
    std::string registers() {
        std::string s;
        for (const Address a : {Address{0, 2, 0}, Address{0, 3, 0}})
            s.append(machine.at(a).bytes.begin(), machine.at(a).bytes.end());
        return s;
    }
    model::Machine machine;
    UndoBook book{};
};

// A server that dies at any write of its look at the machine leaves it as it was, once the next one has begun.
TEST_F(PciUndo, AScanThatDiesAnywhere) {
    const std::string before = registers();
    unsigned deaths = 0;
    for (unsigned lives = 0;; ++lives) {
        ASSERT_LT(lives, 1000u);
        Mortal mortal{machine, lives};
        UndoneConfig config{mortal, book};
        Topology t;
        try {
            t.scan(config);
            break;
        } catch (const Mortal::Death&) {
            ++deaths;
        }
        // So may the next ones, in the midst of putting things back.
        for (unsigned more = 0; more < 3; ++more) {
            Mortal weak{machine, more};
            try {
                UndoneConfig{weak, book}.undo();
            } catch (const Mortal::Death&) {}
        }
        UndoneConfig{machine, book}.undo();
        ASSERT_EQ(registers(), before) << lives;
        EXPECT_EQ(machine.at({0, 3, 0}).status_writes, 0u);
    }
    EXPECT_EQ(registers(), before);
    EXPECT_GT(deaths, 12u);
    EXPECT_EQ(book.count.load(), 0u);
}

// What is kept is only memory.
TEST_F(PciUndo, ABookThatCannotBe) {
    const std::string before = registers();
    book.count = 0xffffffff;
    UndoneConfig{machine, book}.undo();
    EXPECT_EQ(book.count.load(), 0u);
    book.count = UndoBook::most;
    for (unsigned i = 0; i < UndoBook::most; ++i) {
        UndoneConfig config{machine, book};
        config.write({0, 2, 0}, reg::first_bar, i);
    }
    EXPECT_EQ(book.count.load(), UndoBook::most);
}

}  // namespace
}  // namespace margay::pci

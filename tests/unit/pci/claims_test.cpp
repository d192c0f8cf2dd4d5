#include "servers/pci/claims.hpp"

#include <memory>
#include <random>

#include "model.hpp"

namespace margay::pci {
namespace {

constexpr std::uint64_t per_ms = 1000;
constexpr std::uint64_t one = 1, two = 2;

struct PciClaims : testing::Test {
    void SetUp() override {
        machine.add(0, 0, 0, 0x29c08086, 0x060000);
        add_messages(machine.add(0, 2, 0, 0x00101b36, 0x010802))
            .bar(0, 4, 0xfe000000, 0x4000)
            .express(0, true);
        add_messages(machine.add(0, 3, 0, 0x10d38086))
            .bar(0, 0, 0xfd000000, 0x20000)
            .bar(2, 1, 0xc000, 32);
        machine.add(0, 5, 0, 0x11e81234, 0x00ff00).bar(0, 0, 0xfc000000, 0x1000);
        add_messages(machine.add(0, 6, 0, 0x11e81234, 0x00ff00)).bar(0, 0, 0, 0x1000);
        machine.add(0, 9, 0, 0x00101b36, 0x010802)
            .bar(0, 4, 0xfb000000, 0x4000)
            .capability(0x11, 0x40)
            .set(0x42, 64, 2)
            .set(0x44, 0x2000, 4)
            .set(0x48, 0x3000, 4)
            .writable[0x43] = 0xc0;
        machine.add(0, 31, 0, 0x29188086, 0x060100).bytes[reg::header_type] = 0x80;
        add_messages(machine.add(0, 31, 2, 0x29228086, 0x010601));
        constexpr unsigned root_port = 4;
        machine.bridge(0, 8, 1, 1).express(root_port, false);
        machine.bridge(0, 10, 2, 2);
        add_messages(machine.add(2, 7, 0, 0x11e81234, 0x00ff00));
        for (const std::uint8_t number : {0, 1})
            add_messages(machine.add(1, 0, number, 0x15218086)).bytes[reg::header_type] = 0x80;
        machine.at({0, 2, 0}).writable[reg::command + 1] = 4;
        topology.scan(machine);
        make();
        claims->list();
    }
    static model::Function& add_messages(model::Function& f) {
        return f.capability(0x05, 0x40).set(0x42, 1 << 1, 2);
    }
    // Another server, with what the one before has left.
    void make() {
        claims = std::make_unique<Claims>(machine, topology, *board, kept.data(), per_ms);
    }
    unsigned at(std::uint8_t bus, std::uint8_t device, std::uint8_t function = 0) const {
        return topology.find({bus, device, function});
    }
    PciOutcome obstacle(std::uint8_t bus, std::uint8_t device, std::uint8_t function = 0) const {
        return board->function[at(bus, device, function)].obstacle;
    }
    void wish(unsigned i, std::uint64_t what) {
        board->wish[i] = what | ++sequence << pci_wish::sequence_shift;
    }
    void settle() {
        for (unsigned n = 0; n < 100'000; ++n) {
            (void)claims->work(now);
            const std::uint64_t due = claims->due();
            if (due == no_deadline) return;
            now = std::max(now + 1, due);
        }
        ADD_FAILURE() << "it does not end";
    }
    // What becomes of the wish.
    PciOutcome ask(unsigned i, std::uint64_t what) {
        wish(i, what);
        settle();
        EXPECT_EQ(board->function[i].served.load(), board->wish[i].load());
        return static_cast<PciOutcome>(board->function[i].outcome.load());
    }
    // As its holder has it from now on.
    void adjust(unsigned i, std::uint64_t bits) {
        board->wish[i] = (board->wish[i].load() & ~pci_wish::adjustable) | bits;
        settle();
        EXPECT_EQ(board->function[i].outcome.load(), 0u);
    }
    static std::uint64_t by(PciInterrupts kind, std::uint64_t log_messages = 0) {
        return static_cast<std::uint64_t>(kind) << pci_wish::interrupts_shift |
               log_messages << pci_wish::messages_shift;
    }
    std::uint16_t command_of(unsigned i) {
        return machine.read16(topology[i].function.address, reg::command);
    }

    model::Machine machine;
    Topology topology;
    std::unique_ptr<PciBoard> board = std::make_unique<PciBoard>();
    std::vector<Claim> kept = std::vector<Claim>(pci_functions);
    std::unique_ptr<Claims> claims;
    std::uint64_t now = 5, sequence = 0;
};

TEST_F(PciClaims, List) {
    EXPECT_EQ(board->listed.load(), 1u);
    EXPECT_EQ(board->count.load(), topology.count());
    const PciFunction& f = board->function[at(0, 2)];
    EXPECT_EQ(f.requester, 0x10);
    EXPECT_EQ(f.vendor, 0x1b36);
    EXPECT_EQ(f.device, 0x10);
    EXPECT_EQ(f.class_code, 0x010802u);
    EXPECT_EQ(f.reset, PciReset::function);
    EXPECT_EQ(f.obstacle, PciOutcome::ok);
    EXPECT_EQ(f.msi, 2);
    EXPECT_EQ(f.bar_base[0], 0xfe000000u);
    EXPECT_EQ(f.bar_size[0], 0x4000u);
    EXPECT_EQ(f.bar_flags[0], pci_bar::wide);
    EXPECT_EQ(board->function[at(0, 3)].bar_flags[2], pci_bar::ports);
    EXPECT_EQ(obstacle(0, 0), PciOutcome::nodes_own);
    EXPECT_EQ(obstacle(0, 3), PciOutcome::ok);
    EXPECT_EQ(obstacle(0, 5), PciOutcome::no_messages);
    EXPECT_EQ(obstacle(0, 6), PciOutcome::unplaced);
    EXPECT_EQ(obstacle(0, 31, 2), PciOutcome::group);
    EXPECT_EQ(obstacle(0, 8), PciOutcome::bridge);
    EXPECT_EQ(obstacle(2, 7), PciOutcome::hidden);
    EXPECT_EQ(obstacle(1, 0), PciOutcome::ok) << "a bridge is no stranger in a group";
}

TEST_F(PciClaims, GivenAndTakenBack) {
    const unsigned nvme = at(0, 2);
    EXPECT_EQ(ask(nvme, one), PciOutcome::ok);
    EXPECT_EQ(kept[nvme].holder, one);
    EXPECT_EQ(command_of(nvme) & (command::memory | command::bus_master), command::memory)
        << "it decodes, and begins nothing";
    machine.at({0, 2, 0}).bytes[reg::command] |= command::bus_master;
    EXPECT_EQ(ask(nvme, 0), PciOutcome::ok);
    EXPECT_EQ(kept[nvme].holder, 0);
    EXPECT_EQ(command_of(nvme) & 7, 0);
    EXPECT_EQ(ask(nvme, two), PciOutcome::ok) << "it was reset in between";
    // Once more for the same holder: a reset.
    machine.at({0, 2, 0}).bytes[reg::command] |= command::bus_master;
    EXPECT_EQ(ask(nvme, two), PciOutcome::ok);
    EXPECT_EQ(command_of(nvme) & 7, command::memory);
}

// Bus mastering alone comes and goes without a reset.
TEST_F(PciClaims, ItsHolderLetsItBegin) {
    const unsigned nvme = at(0, 2);
    ASSERT_EQ(ask(nvme, one), PciOutcome::ok);
    machine.at({0, 2, 0}).set(0x100, 0x1234, 2);
    const auto master = [&](bool on) {
        const std::uint64_t w = board->wish[nvme].load() & ~pci_wish::bus_master;
        board->wish[nvme] = on ? w | pci_wish::bus_master : w;
        make();  // whoever comes after a server that died does it as well
        EXPECT_TRUE(claims->work(now));
        EXPECT_EQ(board->function[nvme].served.load(), board->wish[nvme].load());
        EXPECT_EQ(board->function[nvme].outcome.load(), 0u);
        EXPECT_EQ(command_of(nvme) & 7,
                  on ? command::memory | command::bus_master : command::memory);
        EXPECT_EQ(claims->due(), no_deadline) << "no reset was begun";
    };
    master(true);
    master(false);
    master(true);
    EXPECT_EQ(ask(nvme, one), PciOutcome::ok);
    EXPECT_EQ(command_of(nvme) & 7, command::memory);
    EXPECT_EQ(ask(nvme, one | pci_wish::bus_master), PciOutcome::ok);
    EXPECT_EQ(command_of(nvme) & 7, command::memory | command::bus_master);
    // Nobody's does nothing, whatever the wish says.
    EXPECT_EQ(ask(nvme, pci_wish::bus_master), PciOutcome::ok);
    EXPECT_EQ(command_of(nvme) & 7, 0);
    board->wish[nvme] = board->wish[nvme].load() & ~pci_wish::bus_master;
    settle();
    EXPECT_EQ(command_of(nvme) & 7, 0);
}

TEST_F(PciClaims, WhatItsHolderIsTold) {
    const unsigned i = at(0, 9);
    const PciFunction& f = board->function[i];
    EXPECT_EQ(f.msix, 65);
    EXPECT_EQ(f.table_bar, 0);
    EXPECT_EQ(f.table_offset, 0x2000u);
    EXPECT_EQ(f.pending_offset, 0x3000u);
    EXPECT_EQ(f.config[0] | f.config[1] << 8, 0x1b36);
    EXPECT_EQ(f.config[0x40], 0x11);
    EXPECT_EQ(ask(i, one | pci_wish::allow_no_reset), PciOutcome::ok);
    EXPECT_EQ(machine.read({0, 9, 0}, 0x40) >> 30, 0u) << "its holder has not asked for messages";
    adjust(i, by(PciInterrupts::msix));
    EXPECT_EQ(machine.read({0, 9, 0}, 0x40) >> 30, 2u) << "messages are on, and not held back";
    adjust(i, by(PciInterrupts::msi));
    EXPECT_EQ(machine.read({0, 9, 0}, 0x40) >> 30, 0u) << "it has no MSI";
    adjust(i, by(PciInterrupts::msix));
    EXPECT_EQ(ask(i, 0), PciOutcome::ok);
    EXPECT_EQ(machine.read({0, 9, 0}, 0x40) >> 30, 0u);
}

// A capability with wide addresses and masks, and one without either.
TEST_F(PciClaims, MessagesByMsi) {
    const unsigned wide = at(0, 2), narrow = at(0, 3);
    model::Function& a = machine.at({0, 2, 0});
    a.set(0x42, 0x018a, 2);
    for (unsigned n = 0x44; n < 0x58; ++n) a.writable[n] = 0xff;
    a.writable[0x42] = 0x71;
    a.set(0x50, ~0u, 4);
    model::Function& b = machine.at({0, 3, 0});
    for (unsigned n = 0x44; n < 0x58; ++n) b.writable[n] = 0xff;
    b.writable[0x42] = 0x71;
    for (const unsigned i : {wide, narrow}) {
        board->message[i].address = 0xfee01008;
        board->message[i].data = 0x40;
        ASSERT_EQ(ask(i, one | pci_wish::allow_no_reset), PciOutcome::ok);
        EXPECT_EQ(machine.read(topology[i].function.address, 0x40) >> 16 & 1, 0u);
        adjust(i, by(PciInterrupts::msi, 2) | pci_wish::bus_master);
        EXPECT_EQ(machine.read(topology[i].function.address, 0x40) >> 16 & 0x71, 0x21u);
        EXPECT_EQ(command_of(i) & command::bus_master, command::bus_master);
    }
    EXPECT_EQ(a.get(0x44), 0xfee01008u);
    EXPECT_EQ(a.get(0x48), 0u);
    EXPECT_EQ(a.get(0x4c), 0x40u);
    EXPECT_EQ(a.get(0x50), 0u) << "never masked";
    EXPECT_EQ(b.get(0x44), 0xfee01008u);
    EXPECT_EQ(b.get(0x48), 0x40u);
    EXPECT_EQ(b.get(0x4c), 0u);
    adjust(narrow, by(PciInterrupts::none));
    EXPECT_EQ(b.get(0x40) >> 16 & 1, 0u);
    board->message[narrow].address = 0x1'fee00000;
    adjust(narrow, by(PciInterrupts::msi));
    EXPECT_EQ(b.get(0x40) >> 16 & 1, 0u) << "it cannot write there";
    board->message[wide].address = 0x1'fee00000;
    adjust(wide, by(PciInterrupts::none));
    adjust(wide, by(PciInterrupts::msi));
    EXPECT_EQ(a.get(0x48), 1u);
    EXPECT_EQ(ask(wide, 0), PciOutcome::ok);
    EXPECT_EQ(a.get(0x40) >> 16 & 1, 0u);
}

// Those at 3, 7 and 15 have one line in common, the bridge at 8 has another.
TEST_F(PciClaims, ByLine) {
    machine.at({0, 31, 0}).set(0x2c, 0x11001af4, 4);
    for (const std::uint8_t device : {7, 15, 12})
        machine.add(0, device, 0, 0x10d38086).bar(0, 0, 0xf0000000u + device * 0x100000u, 0x1000);
    for (const std::uint8_t device : {3, 7, 8, 12, 15}) {
        model::Function& f = machine.at({0, device, 0});
        f.set(reg::interrupt_pin, 1, 1);
        f.writable[reg::command + 1] = 4;
    }
    topology.scan(machine);
    make();
    claims->list();
    constexpr std::uint64_t by_line = pci_wish::allow_no_reset | pci_wish::line;
    const unsigned nic = at(0, 3), plain = at(0, 7), third = at(0, 15);
    EXPECT_EQ(board->function[nic].line, 23);
    EXPECT_EQ(board->function[plain].line, 23);
    EXPECT_EQ(obstacle(0, 7), PciOutcome::no_messages);
    EXPECT_EQ(ask(plain, one | pci_wish::allow_no_reset), PciOutcome::no_messages);
    EXPECT_EQ(ask(plain, one | by_line), PciOutcome::ok);
    EXPECT_NE(command_of(plain) & command::no_line, 0) << "its holder has not asked for it yet";
    EXPECT_NE(command_of(third) & command::no_line, 0) << "nobody's is kept from it";
    adjust(plain, by(PciInterrupts::line));
    EXPECT_EQ(command_of(plain) & command::no_line, 0);
    EXPECT_EQ(ask(nic, two | by_line), PciOutcome::shared_line);
    EXPECT_EQ(command_of(plain) & command::no_line, 0) << "that is no matter of its";
    EXPECT_EQ(ask(nic, two | pci_wish::allow_no_reset), PciOutcome::ok) << "without the line";
    adjust(nic, by(PciInterrupts::line));
    EXPECT_NE(command_of(nic) & command::no_line, 0);
    EXPECT_EQ(ask(nic, 0), PciOutcome::ok);
    EXPECT_EQ(ask(third, one | by_line), PciOutcome::ok) << "of the same holder";
    EXPECT_EQ(ask(plain, one | by_line), PciOutcome::ok);
    EXPECT_EQ(ask(at(0, 12), two | by_line), PciOutcome::shared_line) << "with the bridge";
    EXPECT_EQ(ask(plain, 0), PciOutcome::ok);
    EXPECT_EQ(ask(third, 0), PciOutcome::ok);
    // One that is on its way back may assert it still.
    EXPECT_EQ(ask(plain, one | by_line), PciOutcome::ok);
    wish(plain, 0);
    EXPECT_EQ(ask(nic, two | by_line), PciOutcome::shared_line);
    EXPECT_EQ(ask(plain, 0), PciOutcome::ok);
    EXPECT_EQ(ask(nic, two | by_line), PciOutcome::ok);
    EXPECT_EQ(ask(nic, 0), PciOutcome::ok);
    // One that cannot be kept from its line.
    machine.at({0, 15, 0}).writable[reg::command + 1] = 0;
    machine.at({0, 15, 0}).bytes[reg::command + 1] = 0;
    EXPECT_EQ(ask(plain, one | by_line), PciOutcome::shared_line);
    EXPECT_EQ(kept[plain].holder, 0);
}

TEST_F(PciClaims, LinesThatAreNotKnown) {
    machine.at({0, 3, 0}).set(reg::interrupt_pin, 1, 1);
    topology.scan(machine);
    make();
    claims->list();
    constexpr std::uint64_t by_line = pci_wish::allow_no_reset | pci_wish::line;
    EXPECT_EQ(ask(at(0, 3), one | by_line), PciOutcome::no_line);
    EXPECT_EQ(ask(at(0, 3), one | pci_wish::allow_no_reset), PciOutcome::ok);
    EXPECT_EQ(ask(at(0, 2), one | by_line), PciOutcome::ok) << "it has none, and messages";
    EXPECT_EQ(ask(at(0, 5), one | by_line), PciOutcome::no_messages) << "nor has this one";
}

TEST_F(PciClaims, Refusals) {
    EXPECT_EQ(ask(at(0, 0), one), PciOutcome::nodes_own);
    EXPECT_EQ(ask(at(0, 5), one), PciOutcome::no_messages);
    EXPECT_EQ(ask(at(0, 31, 2), one), PciOutcome::group);
    const unsigned nic = at(0, 3);
    const std::uint16_t before = command_of(nic);
    EXPECT_EQ(ask(nic, one), PciOutcome::no_reset);
    EXPECT_EQ(command_of(nic), before) << "nothing was done to it";
    EXPECT_EQ(ask(nic, one | pci_wish::allow_no_reset), PciOutcome::ok);
    EXPECT_EQ(command_of(nic) & 7, command::memory | command::ports);
    EXPECT_EQ(ask(nic, 0), PciOutcome::ok);
    EXPECT_EQ(ask(nic, two | pci_wish::allow_no_reset), PciOutcome::used);
    EXPECT_EQ(ask(nic, one | pci_wish::allow_no_reset), PciOutcome::ok) << "it knows what is there";
}

TEST_F(PciClaims, AGroupHasOneHolder) {
    const unsigned a = at(1, 0, 0), b = at(1, 0, 1);
    const std::uint64_t mine = one | pci_wish::allow_no_reset;
    EXPECT_EQ(ask(a, mine), PciOutcome::group);
    wish(a, mine);
    wish(b, mine);
    settle();
    EXPECT_EQ(board->function[a].outcome.load(), 0u);
    EXPECT_EQ(board->function[b].outcome.load(), 0u);
    EXPECT_EQ(ask(b, two | pci_wish::allow_no_reset), PciOutcome::group);
    EXPECT_EQ(kept[b].holder, 0) << "whoever had it has it no longer: that was wished as well";
}

TEST_F(PciClaims, OneThatIsLostIsGivenToNobody) {
    const unsigned nvme = at(0, 2);
    ASSERT_EQ(ask(nvme, one), PciOutcome::ok);
    machine.at({0, 2, 0}).bytes[0x8a] |= 1 << 5;  // transactions pending
    EXPECT_EQ(ask(nvme, 0), PciOutcome::did_not_drain);
    machine.at({0, 2, 0}).bytes[0x8a] = 0;
    EXPECT_EQ(ask(nvme, two), PciOutcome::lost);
    EXPECT_EQ(ask(nvme, one), PciOutcome::lost);
    EXPECT_EQ(ask(nvme, 0), PciOutcome::ok);
    EXPECT_EQ(board->function[nvme].obstacle, PciOutcome::did_not_drain)
        << "others see it before they ask";
}

// A reset that its holder asked for fails: when he gives it back he hears that it is not at rest, whatever server tells him; nobody
// after him does.
TEST_F(PciClaims, OneThatIsLostToItsHolder) {
    const unsigned nvme = at(0, 2);
    ASSERT_EQ(ask(nvme, one), PciOutcome::ok);
    machine.at({0, 2, 0}).bytes[0x8a] |= 1 << 5;  // transactions pending
    EXPECT_EQ(ask(nvme, one), PciOutcome::did_not_drain);
    make();
    EXPECT_EQ(ask(nvme, one | pci_wish::bus_master), PciOutcome::lost);
    EXPECT_EQ(ask(nvme, 0), PciOutcome::lost);
    EXPECT_EQ(ask(nvme, two), PciOutcome::lost);
    EXPECT_EQ(ask(nvme, 0), PciOutcome::ok);
}

// Wishes change in any order while servers come and go; in the end each is as it was wished last.
TEST_F(PciClaims, ServersThatDieInTheMidst) {
    std::mt19937_64 random{1};
    const unsigned nvme = at(0, 2), nic = at(0, 3);
    // From here on registers are as they were wished, not as firmware left them.
    for (const unsigned i : {nvme, nic}) {
        ASSERT_EQ(ask(i, one | pci_wish::allow_no_reset), PciOutcome::ok);
        ASSERT_EQ(ask(i, 0), PciOutcome::ok);
    }
    for (unsigned round = 0; round < 2000; ++round) {
        if (random() % 3 == 0) wish(nvme, random() % 3);
        if (random() % 3 == 0) board->wish[nvme] = board->wish[nvme] ^ pci_wish::bus_master;
        if (random() % 3 == 0) wish(nic, random() % 2 == 0 ? 0 : one | pci_wish::allow_no_reset);
        for (unsigned turns = random() % 5; turns != 0; --turns) {
            (void)claims->work(now);
            now += random() % (50 * per_ms);
        }
        if (random() % 4 == 0) make();
        if (random() % 8 != 0) continue;
        settle();
        for (const unsigned i : {nvme, nic}) {
            EXPECT_EQ(board->function[i].served.load(), board->wish[i].load());
            EXPECT_EQ(board->function[i].outcome.load(), 0u);
            const std::uint64_t holder = board->wish[i] & pci_wish::holder_mask;
            EXPECT_EQ(kept[i].holder, holder);
            EXPECT_EQ((command_of(i) & command::memory) != 0, holder != 0);
            EXPECT_EQ((command_of(i) & command::bus_master) != 0,
                      holder != 0 && (board->wish[i] & pci_wish::bus_master) != 0);
        }
        ASSERT_FALSE(HasFailure()) << round;
    }
}

}  // namespace
}  // namespace margay::pci

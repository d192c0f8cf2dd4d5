#include "tests/unit/vmm/local_apic_fixture.hpp"

namespace margay::vmm {
namespace {

using LocalApicTest = test::LocalApicFixture;

class XapicTest : public test::LocalApicFixture {
  protected:
    XapicTest() : LocalApicFixture{false} {}
};

TEST_F(LocalApicTest, reset_is_firmwares_virtual_wire) {
    EXPECT_EQ(apic.base(), 0xfee0'0d00U);
    EXPECT_TRUE(apic.passes_external());
    EXPECT_EQ(read(0x02), 1U);
    EXPECT_EQ(read(0x03), 0x0005'0014U);
    EXPECT_EQ(read(0x32), 0x1'0000U);
    EXPECT_EQ(apic.deliverable(), -1);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
}

TEST_F(LocalApicTest, highest_request_first) {
    for (const auto vector : {0x31, 0xf1, 0x80, 0x3f, 0x40}) {
        request(static_cast<std::uint8_t>(vector));
    }
    for (const auto vector : {0xf1, 0x80, 0x40, 0x3f, 0x31}) {
        take(static_cast<std::uint8_t>(vector));
        write(0x0b, 0);
    }
    EXPECT_EQ(apic.deliverable(), -1);
}

TEST_F(LocalApicTest, same_class_waits_higher_class_nests) {
    request(0x55);
    take(0x55);
    request(0x5f);
    EXPECT_EQ(apic.deliverable(), -1);
    request(0x61);
    take(0x61);
    EXPECT_EQ(read(0x0a), 0x60U);
    write(0x0b, 0);
    EXPECT_EQ(read(0x0a), 0x50U);
    EXPECT_EQ(apic.deliverable(), -1);
    write(0x0b, 0);
    EXPECT_EQ(apic.deliverable(), 0x5f);
}

TEST_F(LocalApicTest, task_priority_holds_back_its_class) {
    request(0x55);
    write(0x08, 0x50);
    EXPECT_EQ(apic.deliverable(), -1);
    EXPECT_EQ(read(0x0a), 0x50U);
    write(0x08, 0x4f);
    EXPECT_EQ(apic.deliverable(), 0x55);
    apic.set_task_priority(0xf0);
    EXPECT_EQ(apic.deliverable(), -1);
    EXPECT_EQ(apic.task_priority(), 0xf0);
}

TEST_F(LocalApicTest, registers_show_requests_and_service) {
    request(0x20);
    request(0x9f, true);
    EXPECT_EQ(read(0x21), 1U);
    EXPECT_EQ(read(0x24), 0x8000'0000U);
    EXPECT_EQ(read(0x1c), 0x8000'0000U);
    take(0x9f);
    EXPECT_EQ(read(0x24), 0U);
    EXPECT_EQ(read(0x14), 0x8000'0000U);
}

TEST_F(LocalApicTest, level_completion_reaches_the_io_apic) {
    request(0x61, true);
    take(0x61);
    write(0x0b, 0);
    EXPECT_EQ(bus.completed, std::vector<std::uint8_t>{0x61});
    request(0x61, false);
    take(0x61);
    write(0x0b, 0);
    EXPECT_EQ(bus.completed.size(), 1U);
}

TEST_F(LocalApicTest, eoi_with_nothing_in_service) {
    write(0x0b, 0);
    EXPECT_TRUE(bus.completed.empty());
    std::uint64_t value = 0;
    EXPECT_EQ(apic.x2apic_read(0x80b, value), MsrResult::fault);
    EXPECT_EQ(apic.x2apic_write(0x80b, 1), MsrResult::fault);
}

TEST_F(LocalApicTest, vectors_below_16_are_errors) {
    request(0x0f);
    EXPECT_EQ(apic.deliverable(), -1);
    EXPECT_EQ(read(0x28), 0U);  // seen only after a write
    write(0x28, 0);
    EXPECT_EQ(read(0x28), 0x40U);
    write(0x28, 0);
    EXPECT_EQ(read(0x28), 0U);
    write(0x37, 0xfe);
    write(0x3f, 0x05);
    EXPECT_EQ(apic.deliverable(), 0xfe);  // the error interrupt
    write(0x28, 0);
    EXPECT_EQ(read(0x28), 0x20U);
}

TEST_F(LocalApicTest, self_ipi) {
    write(0x3f, 0x77);
    EXPECT_EQ(apic.deliverable(), 0x77);
    std::uint64_t value = 0;
    EXPECT_EQ(apic.x2apic_read(0x83f, value), MsrResult::fault);
    EXPECT_EQ(apic.x2apic_write(0x83f, 0x100), MsrResult::fault);
}

TEST_F(LocalApicTest, icr_shorthands) {
    write(0x30, 0x0000'0002'0000'00d1);
    ASSERT_EQ(bus.delivered.size(), 1U);
    EXPECT_EQ(bus.delivered[0].destination, 2U);
    EXPECT_EQ(bus.delivered[0].vector, 0xd1);
    EXPECT_EQ(read(0x30), 0x0000'0002'0000'00d1U);
    write(0x30, 0x0004'00d2);  // self
    EXPECT_EQ(apic.deliverable(), 0xd2);
    write(0x30, 0x0008'00d3);  // all
    write(0x30, 0x000c'0400);  // all others, NMI
    ASSERT_EQ(bus.broadcasts.size(), 2U);
    EXPECT_EQ(bus.broadcasts[1].mode, DeliveryMode::nmi);
    EXPECT_FALSE(bus.last_include_self);
    EXPECT_EQ(bus.last_sender, 1U);
}

TEST_F(LocalApicTest, startup_messages_are_recorded) {
    apic.receive({1, 0, DeliveryMode::init, false, false});
    apic.receive({1, 0x9a, DeliveryMode::startup, false, false});
    apic.receive({1, 0, DeliveryMode::nmi, false, false});
    EXPECT_EQ(state.init_pending, 1);
    EXPECT_EQ(state.startup_pending, 1);
    EXPECT_EQ(state.startup_vector, 0x9a);
    EXPECT_EQ(state.nmi_pending, 1);
    write(0x30, 0x0000'0002'0000'8500);  // INIT de-assert goes nowhere
    EXPECT_TRUE(bus.delivered.empty());
}

TEST_F(LocalApicTest, software_disable_masks_everything) {
    write(0x0f, 0xff);
    EXPECT_FALSE(apic.passes_external());
    request(0x61);
    EXPECT_EQ(apic.deliverable(), -1);
    write(0x35, 0x700);
    EXPECT_EQ(read(0x35), 0x1'0700U);  // cannot be unmasked
    write(0x0f, 0x1ff);
    write(0x35, 0x700);
    EXPECT_TRUE(apic.passes_external());
}

TEST_F(LocalApicTest, x2apic_logical_destination) {
    EXPECT_EQ(read(0x0d), 0x0000'0002U);
    EXPECT_TRUE(apic.accepts(0x0000'0002, true));
    EXPECT_TRUE(apic.accepts(0x0000'ffff, true));
    EXPECT_FALSE(apic.accepts(0x0000'0001, true));
    EXPECT_FALSE(apic.accepts(0x0001'0002, true));
    EXPECT_TRUE(apic.accepts(1, false));
    EXPECT_FALSE(apic.accepts(2, false));
    EXPECT_TRUE(apic.accepts(0xff, false));
    EXPECT_TRUE(apic.accepts(0xffff'ffff, true));
}

TEST_F(LocalApicTest, read_only_and_reserved_registers_fault) {
    std::uint64_t value = 0;
    for (const auto index :
         {0x00U, 0x01U, 0x04U, 0x09U, 0x0cU, 0x0eU, 0x2fU, 0x31U, 0x3aU, 0x40U, 0xffU}) {
        EXPECT_EQ(apic.x2apic_read(0x800 + index, value), MsrResult::fault) << index;
        EXPECT_EQ(apic.x2apic_write(0x800 + index, 0), MsrResult::fault) << index;
    }
    for (const auto index : {0x02U, 0x03U, 0x0aU, 0x0dU, 0x10U, 0x18U, 0x20U, 0x39U}) {
        EXPECT_EQ(apic.x2apic_write(0x800 + index, 0), MsrResult::fault) << index;
    }
    EXPECT_EQ(apic.x2apic_write(0x808, 0x100), MsrResult::fault);
    EXPECT_EQ(apic.x2apic_write(0x808, 1ULL << 32), MsrResult::fault);
}

TEST_F(LocalApicTest, base_register_transitions) {
    const auto base = apic.base();
    EXPECT_EQ(apic.write_base(base & ~0x400ULL), MsrResult::fault);   // x2APIC → xAPIC
    EXPECT_EQ(apic.write_base(base & ~0x800ULL), MsrResult::fault);   // x2APIC without enable
    EXPECT_EQ(apic.write_base(base | 1ULL << 40), MsrResult::fault);  // beyond the address width
    EXPECT_EQ(apic.write_base(base | 1), MsrResult::fault);
    request(0x61);
    EXPECT_EQ(apic.write_base(base & ~0xc00ULL), MsrResult::done);
    EXPECT_EQ(apic.deliverable(), -1);
    EXPECT_TRUE(apic.passes_external());                 // disabled: LINT0 is INTR
    EXPECT_EQ(apic.write_base(base), MsrResult::fault);  // off → x2APIC
    EXPECT_EQ(apic.write_base(base & ~0x400ULL), MsrResult::done);
    EXPECT_EQ(apic.write_base(base), MsrResult::done);
    EXPECT_EQ(state.id, 1U);
}

TEST_F(XapicTest, the_page_moves) {
    constexpr std::uint64_t other = 0xfd00'0000;
    EXPECT_TRUE(apic.has_page_at(local_apic_address));
    EXPECT_FALSE(apic.has_page_at(other));
    EXPECT_EQ(apic.write_base(other | 0x800), MsrResult::done);
    EXPECT_EQ(apic.base(), other | 0x900) << "which processor is the first is read only";
    EXPECT_TRUE(apic.has_page_at(other));
    EXPECT_FALSE(apic.has_page_at(local_apic_address));
    EXPECT_EQ(apic.write_base(other | 0xd00), MsrResult::done);
    EXPECT_FALSE(apic.has_page_at(other)) << "x2APIC has no page";
    EXPECT_EQ(apic.write_base(other | 0x100), MsrResult::done);
    EXPECT_FALSE(apic.has_page_at(other)) << "disabled";
    EXPECT_EQ(apic.write_base(local_apic_address | 0x900), MsrResult::done);
    EXPECT_TRUE(apic.has_page_at(local_apic_address));
}

TEST_F(XapicTest, msrs_fault_in_xapic_mode) {
    std::uint64_t value = 0;
    EXPECT_EQ(apic.x2apic_read(0x802, value), MsrResult::fault);
    EXPECT_EQ(apic.x2apic_write(0x80b, 0), MsrResult::fault);
}

TEST_F(XapicTest, registers_by_memory) {
    EXPECT_EQ(apic.mmio_read(0x20, 4), 0x0100'0000U);
    EXPECT_EQ(apic.mmio_read(0x20 + 3, 1), 0x01U);
    EXPECT_EQ(apic.mmio_read(0x30, 2), 0x0014U);
    EXPECT_EQ(apic.mmio_read(0x24, 4), 0U);  // between registers
    apic.mmio_write(0x80, 4, 0x20);
    EXPECT_EQ(apic.task_priority(), 0x20);
    apic.mmio_write(0x80, 1, 0x30);  // only 32-bit writes count
    apic.mmio_write(0x84, 4, 0x30);
    EXPECT_EQ(apic.task_priority(), 0x20);
    apic.mmio_write(0x20, 4, 0x0500'0000);
    EXPECT_EQ(apic.mmio_read(0x20, 4), 0x0100'0000U);
}

TEST_F(XapicTest, eoi_ignores_its_value) {
    request(0x61);
    take(0x61);
    apic.mmio_write(0xb0, 4, 0xffff'ffff);
    EXPECT_EQ(apic.mmio_read(0x130, 4), 0U);
}

TEST_F(XapicTest, icr_in_two_halves) {
    apic.mmio_write(0x310, 4, 0x0700'0000);
    apic.mmio_write(0x300, 4, 0x0000'08fb);
    ASSERT_EQ(bus.delivered.size(), 1U);
    EXPECT_EQ(bus.delivered[0].destination, 7U);
    EXPECT_EQ(bus.delivered[0].vector, 0xfb);
    EXPECT_TRUE(bus.delivered[0].logical);
    EXPECT_EQ(apic.mmio_read(0x310, 4), 0x0700'0000U);
    EXPECT_EQ(apic.mmio_read(0x300, 4) & 0x1000, 0U);  // delivered
}

TEST_F(XapicTest, logical_destinations_flat_and_cluster) {
    apic.mmio_write(0xd0, 4, 0x2200'0000);
    EXPECT_TRUE(apic.accepts(0x02, true));
    EXPECT_TRUE(apic.accepts(0x20, true));
    EXPECT_FALSE(apic.accepts(0x11, true));
    apic.mmio_write(0xe0, 4, 0x0fff'ffff);
    EXPECT_TRUE(apic.accepts(0x22, true));
    EXPECT_TRUE(apic.accepts(0xf2, true));
    EXPECT_FALSE(apic.accepts(0x12, true));
    EXPECT_FALSE(apic.accepts(0x21, true));
}

TEST_F(XapicTest, every_offset_and_width_is_survived) {
    for (unsigned offset = 0; offset < 0x1000; ++offset) {
        for (const auto width : {1U, 2U, 4U, 8U}) {
            static_cast<void>(apic.mmio_read(offset, width));
            apic.mmio_write(offset, width, 0xffff'ffff'ffff'ffff);
        }
    }
    EXPECT_LT(apic.deliverable(), 256);
}

TEST_F(LocalApicTest, eoi_assist_saves_the_exit) {
    ASSERT_EQ(apic.write_eoi_assist(0x1000 | 1), MsrResult::done);
    request(0x61);
    take(0x61);
    EXPECT_EQ(memory.at<std::uint32_t>(0x1000), 1U);
    memory.bytes[0x1000] = std::byte{0};  // the guest completes it
    request(0x55);                        // a lower one is deliverable again
    EXPECT_EQ(apic.deliverable(), 0x55);
    EXPECT_EQ(read(0x13), 0U);
}

TEST_F(LocalApicTest, eoi_assist_is_withdrawn_when_something_waits) {
    ASSERT_EQ(apic.write_eoi_assist(0x1000 | 1), MsrResult::done);
    request(0x61);
    take(0x61);
    request(0x55);
    EXPECT_EQ(memory.at<std::uint32_t>(0x1000), 0U);  // a real EOI must follow
    EXPECT_EQ(apic.deliverable(), -1);
    write(0x0b, 0);
    EXPECT_EQ(apic.deliverable(), 0x55);
}

TEST_F(LocalApicTest, eoi_assist_is_not_offered_for_level_or_nested) {
    ASSERT_EQ(apic.write_eoi_assist(0x1000 | 1), MsrResult::done);
    request(0x61, true);
    take(0x61);
    EXPECT_EQ(memory.at<std::uint32_t>(0x1000), 0U);
    request(0x91);
    take(0x91);
    EXPECT_EQ(memory.at<std::uint32_t>(0x1000), 0U);
}

TEST_F(LocalApicTest, eoi_assist_sees_other_requests_with_the_same_low_bits) {
    ASSERT_EQ(apic.write_eoi_assist(0x1000 | 1), MsrResult::done);
    request(0x31);
    request(0x71);
    take(0x71);
    EXPECT_EQ(memory.at<std::uint32_t>(0x1000), 0U);
}

TEST_F(LocalApicTest, eoi_assist_withdrawn_offer) {
    ASSERT_EQ(apic.write_eoi_assist(0x1000 | 1), MsrResult::done);
    request(0x61);
    apic.offer(0x61);
    apic.withdraw();
    EXPECT_EQ(memory.at<std::uint32_t>(0x1000), 0U);
    EXPECT_EQ(apic.deliverable(), 0x61);
}

TEST_F(LocalApicTest, eoi_assist_address_is_checked) {
    EXPECT_EQ(apic.write_eoi_assist(0xffff'ffff'ffff'fffd), MsrResult::fault);
    EXPECT_EQ(apic.write_eoi_assist(0x1'0001), MsrResult::fault);  // outside RAM
    EXPECT_EQ(apic.write_eoi_assist(0x1003), MsrResult::fault);    // reserved bit
    EXPECT_EQ(apic.write_eoi_assist(0), MsrResult::done);
    request(0x61);
    take(0x61);
    EXPECT_EQ(read(0x13), 2U);
}

}  // namespace
}  // namespace margay::vmm

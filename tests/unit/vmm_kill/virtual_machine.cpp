#include "tests/unit/vmm_kill/virtual_machine.hpp"

#include "servers/vmm/state/attach.hpp"

#include <new>
#include <vector>

namespace margay::vmm::kill {

namespace {

CpuidResult host_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    return {leaf * 3, subleaf, 0xffff'ffff, 0xffff'ffff};
}

constexpr std::uint64_t no_vector = 0x100;

class Ram final : public GuestMemory {
  public:
    explicit Ram(Remains& remains) : remains_{remains} {}
    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        if (gpa > ram_bytes || length > ram_bytes - gpa) {
            return {};
        }
        return std::span{remains_.ram}.subspan(gpa, length);
    }

  private:
    Remains& remains_;
};

class Defaults final : public StateDefaults {
  public:
    explicit Defaults(const ConsoleChannel& console) : console_{console} {}
    void reset(RegionHalf& half) override {
        auto& state = vm_state(half);
        Board::reset(state.board, {2'000'000, 1'700'000'000, 0, 40, 1, {}}, host_cpuid);
        state.vcpu.live = {};
        state.vcpu.live.offered_vector = no_vector;
        state.vcpu.live.armed_deadline_ns = no_deadline;
        GuestConsole::reset(state.console.live, console_);
    }

  private:
    const ConsoleChannel& console_;
};

VmState& attached(Remains& remains, std::uint64_t pending) {
    Vmm::attach_to(remains, pending);
    return vm_state(remains.region.active());
}

}  // namespace

void Vmm::attach_to(Remains& remains, std::uint64_t pending) {
    Ram ram{remains};
    Defaults defaults{remains.console};
    const auto found = attach(remains.region, vm_layout(), defaults, pending, ram);
    if (found.finding == Finding::blank) {
        create(remains.region, vm_layout(), defaults);
    }
}

Vmm::Vmm(Remains& remains, std::uint64_t pending)
    : remains_{remains},
      state_{attached(remains, pending)},
      words_{*this, remains.region.header.guest_word, transaction_},
      glue_{state_.vcpu, transaction_},
      console_{{state_.console, transaction_}, transaction_, remains.console} {
    new (board_memory_) Board{state_.board, transaction_, *this, *this, *this, *this, words_};
}

std::span<std::byte> Vmm::window(std::uint64_t gpa, std::size_t length) {
    return Ram{remains_}.window(gpa, length);
}

void Vmm::begin(std::uint64_t sequence) {
    transaction_.begin(sequence);
    now_ = sequence * 700'000;  // so that a replay sees the time that the exit saw
    if (glue_->offered_vector != no_vector && sequence % 2 == 0) {
        board().interrupt_taken(static_cast<std::uint8_t>(glue_->offered_vector));
        glue_.edit().offered_vector = no_vector;
    }
}

void Vmm::finish() {
    const auto vector = board().interrupt_to_inject();
    const std::uint64_t offer = vector ? *vector : no_vector;
    if (offer != glue_->offered_vector) {
        glue_.edit().offered_vector = offer;
    }
    const auto deadline = board().next_deadline();
    if (deadline != glue_->armed_deadline_ns) {
        glue_.edit().armed_deadline_ns = deadline;
    }
    static_cast<void>(board().nmi_to_inject());
}

void Vmm::read_console() {
    console_.release_input();
    for (char byte; console_.peek(byte); console_.take()) {
        if (!board().console_input(static_cast<std::uint8_t>(byte))) {
            return;
        }
    }
}

Layout foreign_layout() {
    static const auto sections = [] {
        const auto ours = vm_layout().sections;
        std::vector<SectionEntry> moved(ours.rbegin(), ours.rend());
        for (auto& section : moved) {
            section.slot += 64;
        }
        return moved;
    }();
    const auto ours = vm_layout();
    return {sections, ours.fields, ours.used + 64};
}

}  // namespace margay::vmm::kill

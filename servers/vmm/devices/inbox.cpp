#include "servers/vmm/devices/inbox.hpp"

#include "servers/vmm/state/order.hpp"

#include <atomic>

namespace margay::vmm {

namespace {

using Word = std::atomic_ref<std::uint64_t>;

}  // namespace

void Inbox::post(const ApicMessage& message) noexcept {
    switch (message.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest_priority: {
        const auto word = message.vector >> 6U;
        const auto bit = 1ULL << (message.vector & 63);
        // In this order: whoever sees the request sees what it is.
        if (message.level) {
            Word{state_.level[word]}.fetch_or(bit);
        } else {
            Word{state_.level[word]}.fetch_and(~bit);
        }
        Word{state_.requests[word]}.fetch_or(bit);
        return;
    }
    case DeliveryMode::nmi: Word{state_.signals}.fetch_or(nmi); return;
    case DeliveryMode::init: {
        // It resets what waits: a start-up that came before it is void.
        Word signals{state_.signals};
        auto old = signals.load();
        while (!signals.compare_exchange_weak(old, (old & nmi) | init)) {}
        return;
    }
    case DeliveryMode::startup: {
        Word signals{state_.signals};
        auto old = signals.load();
        const auto next = startup | std::uint64_t{message.vector} << vector_shift;
        while (!signals.compare_exchange_weak(old, (old & (nmi | init | kicked)) | next)) {}
        return;
    }
    case DeliveryMode::smi:  // there is no system management mode
    case DeliveryMode::external: return;
    }
}

void Inbox::kick() noexcept { Word{state_.signals}.fetch_or(kicked); }

bool Inbox::is_empty() const noexcept {
    std::uint64_t all = Word{state_.signals}.load();
    for (auto& word : state_.requests) {
        all |= Word{word}.load();
    }
    return all == 0;
}

void Inbox::empty_into_taken(std::uint64_t number) noexcept {
    for (unsigned word = 0; word < 4; ++word) {
        state_.taken_requests[word] = Word{state_.requests[word]}.load();
        state_.taken_level[word] = Word{state_.level[word]}.load() & state_.taken_requests[word];
    }
    state_.taken_signals = Word{state_.signals}.load();
    order_stores();
    state_.taken_in = number;
    order_stores();
    // Only now does it leave the inbox. What comes meanwhile of the same kind is the same request.
    for (unsigned word = 0; word < 4; ++word) {
        Word{state_.requests[word]}.fetch_and(~state_.taken_requests[word]);
    }
    Word signals{state_.signals};
    auto old = state_.taken_signals;
    if (!signals.compare_exchange_strong(old, 0)) {
        // More has come since: an INIT or start-up that was seen and is still there is taken by the next exit.
        state_.taken_signals = 0;
    }
}

void Inbox::put_back(std::uint64_t number) noexcept {
    if (state_.taken_in != number || number == 0) {
        return;
    }
    for (unsigned word = 0; word < 4; ++word) {
        Word{state_.level[word]}.fetch_or(state_.taken_level[word]);
        Word{state_.requests[word]}.fetch_or(state_.taken_requests[word]);
    }
    // What came after it stays: an INIT voids the start-up that was taken.
    Word signals{state_.signals};
    if ((signals.load() & init) == 0) {
        signals.fetch_or(state_.taken_signals);
    } else {
        signals.fetch_or(state_.taken_signals & nmi);
    }
    order_stores();
    state_.taken_in = 0;
}

}  // namespace margay::vmm

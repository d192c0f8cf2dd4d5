#include "servers/init/console_channels.hpp"

#include <cstring>
#include <new>

namespace margay::init {

namespace {
constexpr std::uint64_t state_address = 0x2e00'0000, control_address = 0x2f00'0000;
}  // namespace

Status ConsoleChannels::open(Node& node, Slot console_event, Slot event, std::uint64_t settled) {
    node_ = &node;
    console_event_ = console_event;
    event_ = event;
    settled_ = settled;
    // One area for all: few page tables.
    area_ = node.new_range(max_channels * channel_stride);
    const Result<Extent> memory = node.allocate(console_control_bytes);
    if (!memory) return memory.status();
    const Result<std::uint64_t> here = node.map_here(*memory, map_right::read_write);
    if (!here) return here.status();
    control_memory_ = *memory;
    control_ = new (reinterpret_cast<void*>(*here)) ConsoleControl;
    const Result<Extent> state = node.allocate(console_state_bytes);
    if (!state) return state.status();
    state_memory_ = *state;
    return clear_state();
}

Status ConsoleChannels::clear_state() {
    const Result<std::uint64_t> here = node_->map_here(state_memory_, map_right::read_write);
    if (!here) return here.status();
    std::memset(reinterpret_cast<void*>(*here), 0, state_memory_.size);
    (void)revoke(state_memory_.slot);
    node_->give_back_window(state_memory_, *here);
    return Status::ok;
}

Status ConsoleChannels::begin_console(Program& console, bool anew) {
    domain_ = console.domain();
    given_ = 0;
    control_->busy.store(1);
    Status s = anew ? clear_state() : Status::ok;
    if (s == Status::ok)
        s = console.give_mapping("state", state_memory_, state_address, map_right::read_write);
    return s != Status::ok ? s
                           : console.give_channel("control", control_memory_, control_address,
                                                  event_, settled_);
}

Status ConsoleChannels::give_some(bool& all) {
    // A piece is some tens of microseconds.
    constexpr unsigned per_piece = 16;
    for (unsigned n = 0; n < per_piece && given_ < max_channels; ++given_) {
        if (places_[given_].state != State::used) continue;
        if (const Status s = give(given_); s != Status::ok) return s;
        ++n;
    }
    all = given_ == max_channels;
    return Status::ok;
}

Status ConsoleChannels::make(unsigned index, const ChannelOptions& options) {
    Place& place = places_[index];
    const Result<Extent> memory = node_->allocate(channel_bytes);
    if (!memory) return memory.status();
    place.memory = *memory;
    const std::uint64_t here = area_ + index * channel_stride;
    Status s =
        map(place.memory.slot, init_slot::domain, here, 0, channel_bytes, map_right::read_write);
    if (s != Status::ok) return s;
    place.here = new (reinterpret_cast<void*>(here)) ConsoleChannel;
    if (options.event != no_slot) {
        place.event = node_->new_slot();
        s = copy(options.event, init_slot::domain, place.event, right::signal | right::grant,
                 options.bits);
        if (s != Status::ok) {
            node_->give_back_slot(place.event);
            place.event = no_slot;
            return s;
        }
    }
    return domain_ != no_slot && index < given_ ? give(index) : Status::ok;
}

// To the console.
Status ConsoleChannels::give(unsigned index) {
    const Place& place = places_[index];
    const Status s = map(place.memory.slot, domain_, console_channel_address(index), 0,
                         channel_bytes, map_right::read_write);
    if (s != Status::ok || place.event == no_slot) return s;
    return copy(place.event, domain_, static_cast<Slot>(first_slot + index), right::signal);
}

void ConsoleChannels::take_back(unsigned index) {
    Place& place = places_[index];
    if (place.event != no_slot) {
        (void)revoke(place.event, revoke_flag::descendants | revoke_flag::self);
        node_->give_back_slot(place.event);
    }
    if (place.memory.slot != no_slot) node_->release(place.memory);
    place = Place{};
}

Result<Channel> ConsoleChannels::add(const ChannelOptions& options) {
    collect();
    unsigned index = 0;
    while (index < max_channels && places_[index].state != State::free) ++index;
    if (index == max_channels) return Status::no_memory;
    if (const Status s = make(index, options); s != Status::ok) {
        take_back(index);
        return s;
    }
    Place& place = places_[index];
    place.state = State::used;
    ++count_;
    ChannelEntry& e = control_->channel[index];
    e.kind = options.kind;
    e.flags = options.flags;
    e.event = options.event == no_slot ? no_slot : static_cast<Slot>(first_slot + index);
    e.bits = options.bits;
    std::size_t n = 0;
    for (; n < options.name.size() && n + 1 < sizeof(e.name); ++n) e.name[n] = options.name[n];
    e.name[n] = 0;
    e.wanted.store(e.wanted.load() + 1);
    (void)signal(console_event_, console_bit::control);
    return Channel{place.memory, place.here, console_bit::channel(index), index};
}

void ConsoleChannels::remove(Channel& channel) {
    if (channel.index >= max_channels || places_[channel.index].state != State::used) return;
    places_[channel.index].state = State::leaving;
    ChannelEntry& e = control_->channel[channel.index];
    e.wanted.store(e.wanted.load() + 1);
    (void)signal(console_event_, console_bit::control);
    channel = Channel{};
}

void ConsoleChannels::collect() {
    for (unsigned i = 0; i < max_channels; ++i) {
        if (places_[i].state != State::leaving) continue;
        const ChannelEntry& e = control_->channel[i];
        if (e.seen.load() != e.wanted.load()) continue;
        take_back(i);
        --count_;
    }
}

void ConsoleChannels::attach(const Channel& terminal) {
    control_->attach.store(attach_request(terminal.index));
    (void)signal(console_event_, console_bit::control);
}

void ConsoleChannels::ask_for_turn() { (void)signal(console_event_, console_bit::control); }

bool ConsoleChannels::is_drained() const {
    for (const Place& place : places_)
        if (place.state == State::used && !place.here->output.is_empty()) return false;
    return control_->busy.load() == 0;
}

}  // namespace margay::init

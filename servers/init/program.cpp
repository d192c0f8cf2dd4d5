#include "servers/init/program.hpp"

#include <cstring>

#include "libipc/mapping.hpp"
#include "support/address.hpp"

namespace margay::init {

namespace {

constexpr std::uint64_t stack_top = 0x2000'0000;
constexpr std::uint64_t further_stack_bytes = 64 << 10, further_stack_distance = 1 << 20;

}  // namespace

StartupItem* Program::new_item(std::string_view name) {
    if (startup_->count == startup_items) return nullptr;
    StartupItem& item = startup_->item[startup_->count++];
    item = StartupItem{};
    item.slot = no_slot;
    const std::size_t length =
        name.size() < sizeof(item.name) ? name.size() : sizeof(item.name) - 1;
    std::memcpy(item.name, name.data(), length);
    return &item;
}

Status Program::tell(Status mapped, std::string_view name, std::uint64_t address,
                     std::uint64_t size, std::uint64_t value) {
    if (mapped != Status::ok) return mapped;
    StartupItem* item = new_item(name);
    if (item == nullptr) return Status::no_memory;
    item->address = address;
    item->size = size;
    item->value = value;
    return Status::ok;
}

// What is only read is the module itself, shared by all who run it.
Status Program::load_segment(const ElfSegment& s) {
    std::uint64_t rights = map_right::read;
    if (s.flags & 2) rights |= map_right::write;
    if (s.flags & 1) rights |= map_right::execute;
    const std::uint64_t size = align_up(s.memory_size, page_size);
    const Module& module = *image_->module;
    if ((s.flags & 2) == 0 && s.file_size == s.memory_size && s.offset % page_size == 0 &&
        size <= module.size() - s.offset)
        return module.map(domain_, s.address, s.offset, size, rights);
    const Result<Extent> memory = holdings_.allocate(size);
    if (!memory) return memory.status();
    const Result<std::uint64_t> here = node_.map_here(*memory, map_right::read_write);
    if (!here) return here.status();
    auto* bytes = reinterpret_cast<std::uint8_t*>(*here);
    std::memcpy(bytes, image_->bytes + s.offset, s.file_size);
    std::memset(bytes + s.file_size, 0, memory->size - s.file_size);
    (void)revoke(memory->slot);
    node_.give_back_window(*memory, *here);
    return map(memory->slot, domain_, s.address, 0, memory->size, rights);
}

// It stays mapped here, for the report of its end.
Status Program::load_stack() {
    const Result<Extent> stack = holdings_.allocate(options_.stack_bytes);
    if (!stack) return fail_with("no memory for its stack", stack.status());
    const Result<std::uint64_t> here = holdings_.map_here(*stack, map_right::read);
    if (!here) return fail_with("its stack cannot be mapped", here.status());
    stack_ = reinterpret_cast<const std::uint8_t*>(*here);
    const Status s =
        map(stack->slot, domain_, stack_top - stack->size, 0, stack->size, map_right::read_write);
    return s == Status::ok ? s : fail_with("its stack cannot be mapped", s);
}

bool Program::read_stack(std::uint64_t address, std::uint64_t& word) const {
    const std::uint64_t bottom = stack_top - align_up(options_.stack_bytes, page_size);
    if (stack_ == nullptr || address % 8 != 0 || address < bottom || address >= stack_top)
        return false;
    std::memcpy(&word, stack_ + (address - bottom), sizeof(word));
    return true;
}

Status Program::load() {
    Status s = Status::ok;
    while (s == Status::ok && !is_loaded()) s = load_piece();
    return s;
}

Status Program::load_piece() {
    if (domain_ == no_slot) return create_domain();
    while (next_segment_ < image_->header().program_header_count) {
        const ElfSegment& s = image_->segments()[next_segment_++];
        if (s.type != 1 || s.memory_size == 0) continue;
        const Status loaded = load_segment(s);
        return loaded == Status::ok ? loaded : fail_with("its image cannot be loaded", loaded);
    }
    return stack_ == nullptr ? load_stack() : make_block();
}

Status Program::create_domain() {
    const Result<const Image*> image = node_.image(options_.module, why_);
    if (!image) return image.status();
    image_ = *image;

    const std::uint64_t bytes = domain_overhead + align_up(options_.slots * slot_bytes, page_size) +
                                align_up(options_.mappings * mapping_bytes, page_size) +
                                options_.table_bytes;
    const Result<Extent> storage = holdings_.allocate(bytes);
    if (!storage) return fail_with("no memory for its domain", storage.status());
    domain_ = holdings_.new_slot();
    const Status s =
        create(ObjectType::domain, domain_, storage->slot, options_.slots, options_.mappings);
    return s == Status::ok ? s : fail_with("its domain cannot be created", s);
}

Status Program::make_block() {
    const Result<Extent> block = holdings_.allocate(page_size);
    if (!block) return fail_with("no memory for its start-up block", block.status());
    const Result<std::uint64_t> at = holdings_.map_here(*block, map_right::read_write);
    if (!at) return fail_with("its start-up block cannot be mapped", at.status());
    Status s = map(block->slot, domain_, startup_address, 0, page_size, map_right::read);
    if (s != Status::ok) return fail_with("its start-up block cannot be mapped", s);
    startup_ = reinterpret_cast<Startup*>(*at);
    std::memset(static_cast<void*>(startup_), 0, page_size);
    startup_->magic = startup_magic;
    startup_->abi = abi_version;
    startup_->tsc_khz = node_.info().tsc_khz;
    startup_->domain = no_slot;
    std::uint64_t name[2] = {};
    const std::size_t length = options_.name.size() < 16 ? options_.name.size() : 16;
    std::memcpy(name, options_.name.data(), length);
    std::memcpy(startup_->program, name, sizeof(startup_->program));
    s = domain_ctl(domain_, DomainOp::set_name, name[0], name[1]);
    if (s == Status::ok) s = domain_ctl(domain_, DomainOp::set_symbols, image_->symbols_address);
    return s;
}

Status Program::give_mapping(std::string_view name, const Extent& e, std::uint64_t address,
                             std::uint64_t rights, std::uint64_t value, std::uint64_t length) {
    return tell(map_all(e, domain_, address, 0, e.size, rights), name, address,
                length != 0 ? length : e.size, value);
}

Status Program::give_mapping(std::string_view name, const Ram& ram, std::uint64_t address,
                             std::uint64_t rights) {
    return tell(map_ram(ram, domain_, address, 0, ram.size, rights), name, address, ram.size);
}

Status Program::give_module(std::string_view name, const Module& module, std::uint64_t address) {
    address += module.first().base % large_page;
    return tell(module.map(domain_, address, 0, module.size(), map_right::read), name, address,
                module.length);
}

Status Program::give_capability(std::string_view name, Slot slot, std::uint8_t rights,
                                std::uint64_t badge, std::uint64_t value) {
    const Slot at = next_slot_;
    const Status s = copy(slot, domain_, at, rights, badge);
    if (s != Status::ok) return s;
    StartupItem* item = new_item(name);
    if (item == nullptr) return Status::no_memory;
    ++next_slot_;
    item->slot = at;
    item->value = value;
    return Status::ok;
}

Status Program::give_channel(std::string_view name, const Extent& memory, std::uint64_t address,
                             Slot event, std::uint64_t bits) {
    Status s = give_mapping(name, memory, address, map_right::read_write, bits);
    if (s != Status::ok || event == no_slot) return s;
    const Slot at = next_slot_++;
    s = copy(event, domain_, at, right::signal, bits);
    startup_->item[startup_->count - 1].slot = at;
    return s;
}

void Program::give_value(std::string_view name, std::uint64_t value) {
    if (StartupItem* item = new_item(name)) item->value = value;
}

Status Program::make_thread(Slot death_event, std::uint64_t death_bits, bool quiet) {
    const Result<Extent> storage = holdings_.allocate(storage_thread);
    if (!storage) return storage.status();
    thread_ = holdings_.new_slot();
    Status s =
        create_thread(thread_, storage->slot, domain_, init_slot::first_core + options_.core,
                      options_.priority, image_->header().entry, stack_top - 16, startup_address);
    if (s == Status::ok && death_event != no_slot)
        s = thread_ctl(thread_, ThreadOp::set_death_event, death_event, death_bits,
                       quiet ? death_flag::quiet : 0);
    startup_->first_free = next_slot_;
    return s;
}

Status Program::give_room(std::uint64_t address, std::uint64_t bytes) {
    const Result<Extent> memory = holdings_.allocate(bytes);
    return memory ? map_at(*memory, address, map_right::read_write) : memory.status();
}

Status Program::make_further_thread(Holdings& from, Slot& thread, unsigned core, unsigned number,
                                    Slot death_event, std::uint64_t death_bits) {
    const Result<Extent> storage = from.allocate(storage_thread);
    const Result<Extent> stack = from.allocate(further_stack_bytes);
    if (!storage) return storage.status();
    if (!stack) return stack.status();
    const std::uint64_t top = stack_top - number * further_stack_distance;
    Status s = map_at(*stack, top - stack->size, map_right::read_write);
    if (s != Status::ok) return s;
    thread = from.new_slot();
    s = create_thread(thread, storage->slot, domain_, init_slot::first_core + core,
                      options_.priority, image_->header().entry, top - 16,
                      startup_address + number);
    if (s == Status::ok)
        s = thread_ctl(thread, ThreadOp::set_death_event, death_event, death_bits,
                       death_flag::quiet);
    return s;
}

Status Program::start() {
    startup_->first_free = next_slot_;
    return thread_ctl(thread_, ThreadOp::start);
}

}  // namespace margay::init

#include "servers/init/manifest.hpp"

#include <iterator>

#include "servers/init/integer_json.hpp"
#include "servers/init/manifest_keys.hpp"

namespace margay::init {

namespace {

// The memory of the reader's one stack. It never runs out: the text is limited, the stack holds no more
// than one text or number of it at a time, and it grows where it is.
class Arena {
  public:
    [[maybe_unused]] static constexpr bool kNeedFree = false;  // RapidJSON asks for it
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    void* Malloc(std::size_t bytes) {
        bytes = (bytes + 15) & ~std::size_t{15};
        if (bytes > sizeof(room_) - used_) __builtin_trap();
        last_ = used_;
        used_ += bytes;
        return room_ + last_;
    }
    void* Realloc(void* old, std::size_t old_bytes, std::size_t bytes) {
        if (bytes <= old_bytes) return old;
        if (old != nullptr && old == room_ + last_) {
            used_ = last_;
            return Malloc(bytes);
        }
        void* p = Malloc(bytes);
        if (old != nullptr && old_bytes != 0) std::memcpy(p, old, old_bytes);
        return p;
    }
    static void Free(void*) {}

  private:
    alignas(16) inline static unsigned char room_[2 * max_manifest_bytes];
    std::size_t used_ = 0;
    std::size_t last_ = 0;  // where the latest block begins
};

enum class Where { before, node, vms, vm, cores, devices, device, after };

using Kind = ManifestKey::Kind;

// The reader tells it what it sees. What cannot be taken is an error, and skipped, with all that is in it.
class Handler : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Handler> {
  public:
    Handler(std::string_view text, const rapidjson::MemoryStream& stream, Manifest& m,
            std::span<ManifestError> errors)
        : text_{text}, stream_{stream}, manifest_{m}, errors_{errors} {}

    std::size_t errors() const { return found_; }

    bool Null() { return skips() || refuse("null is no value here"); }
    bool Bool(bool value) {
        if (skips()) return true;
        if (key_ == nullptr || key_->kind != Kind::flag)
            return refuse("a truth value is not expected here");
        return store(value ? "true" : "false");
    }
    bool Int(int) { return skips() || refuse("a number is not expected here"); }
    bool Uint(unsigned) { return skips() || refuse("a number is not expected here"); }
    bool Int64(std::int64_t) { return skips() || refuse("a number is not expected here"); }
    bool Uint64(std::uint64_t) { return skips() || refuse("a number is not expected here"); }

    bool RawNumber(const char* digits, rapidjson::SizeType length, bool) {
        if (skips()) return true;
        if (where_ == Where::cores) return add_core({digits, length});
        if (key_ == nullptr || (key_->kind != Kind::number && key_->kind != Kind::cpus))
            return refuse("a number is not expected here");
        return store({digits, length});
    }

    bool String(const char* characters, rapidjson::SizeType length, bool) {
        if (skips()) return true;
        const std::string_view value{characters, length};
        if (key_ == nullptr || (key_->kind != Kind::text && key_->kind != Kind::choice))
            return refuse("text is not expected here");
        return store(value);
    }

    bool StartObject() {
        if (skips_all()) return true;
        if (where_ == Where::before) {
            where_ = Where::node;
            return true;
        }
        if (where_ == Where::devices) return begin_device();
        if (where_ != Where::vms) return refuse_all("an object is not expected here");
        if (manifest_.vm_count == manifest_.vms.size()) {
            ++skipped_;
            if (too_many_) return true;
            too_many_ = true;
            return report(manifest_.vm_count == max_vms ? "more than 254 VMs" : "more than one VM",
                          line());
        }
        vm() = VmConfig{};
        seen_vm_ = bad_vm_ = 0;
        vm_line_ = name_line_ = line();
        where_ = Where::vm;
        return true;
    }

    bool Key(const char* characters, rapidjson::SizeType length, bool) {
        if (skipped_ != 0) return true;
        const std::string_view name{characters, length};
        set_key(name);
        const std::span<const ManifestKey> keys = known_keys();
        std::size_t index = 0;
        while (index < keys.size() && keys[index].name != name) ++index;
        skip_next_ = true;
        if (index == keys.size()) return report("unknown key", line());
        unsigned& seen = where_ == Where::vm       ? seen_vm_
                         : where_ == Where::device ? seen_device_
                                                   : seen_node_;
        if ((seen >> index & 1) != 0) return report("appears twice", line());
        seen |= 1u << index;
        skip_next_ = false;
        key_ = &keys[index];
        if (where_ == Where::vm && name == "name") name_line_ = line();
        return true;
    }

    bool EndObject(rapidjson::SizeType) {
        if (skipped_ != 0) {
            --skipped_;
            return true;
        }
        if (where_ == Where::device) return end_device();
        key_ = nullptr;
        if (where_ == Where::node) {
            where_ = Where::after;
            return true;
        }
        where_ = Where::vms;
        const bool go_on = check_vm();
        ++manifest_.vm_count;
        set_key("vms");
        return go_on;
    }

    bool StartArray() {
        if (skips_all()) return true;
        if (where_ == Where::vm && key_ != nullptr && key_->kind == Kind::cpus) {
            where_ = Where::cores;
            vm().cpus = {0, 1, {}};
            return true;
        }
        if (where_ == Where::vm && key_ != nullptr && key_->kind == Kind::devices) {
            where_ = Where::devices;
            return true;
        }
        if (where_ != Where::node || key_ == nullptr || key_->kind != Kind::vms)
            return refuse_all("a list is not expected here");
        where_ = Where::vms;
        key_ = nullptr;
        return true;
    }

    bool EndArray(rapidjson::SizeType) {
        if (skipped_ != 0) {
            --skipped_;
        } else if (where_ == Where::cores) {
            where_ = Where::vm;
            if (vm().cpus.count == 0) return refuse("it has no cores");
        } else if (where_ == Where::devices) {
            where_ = Where::vm;
        } else {
            where_ = Where::node;
        }
        return true;
    }

    // Stores an error; false if there is no room for another.
    bool report(const char* what, unsigned line) {
        ManifestError& e = errors_[found_++];
        e = {};
        e.what = what;
        e.line = line;
        std::memcpy(e.key, name_, sizeof(e.key));
        return found_ < errors_.size();
    }

    unsigned line_of(std::size_t offset) {
        if (offset < counted_) counted_ = 0, line_ = 1;
        for (; counted_ < offset && counted_ < text_.size(); ++counted_)
            if (text_[counted_] == '\n') ++line_;
        return line_;
    }

  private:
    static_assert(std::size(node_keys) <= 32 && std::size(vm_keys) <= 32,
                  "a bit for each in seen_...");

    std::span<const ManifestKey> known_keys() const {
        return where_ == Where::vm       ? std::span<const ManifestKey>{vm_keys}
               : where_ == Where::device ? std::span<const ManifestKey>{device_keys}
                                         : std::span<const ManifestKey>{node_keys};
    }

    unsigned line() { return line_of(stream_.Tell()); }

    // A value of a key that is no good, or within one.
    bool skips() {
        const bool skipped = skip_next_ || skipped_ != 0;
        skip_next_ = false;
        return skipped;
    }

    // The same for the beginning of an object or list.
    bool skips_all() {
        const bool skipped = skips();
        if (skipped) ++skipped_;
        return skipped;
    }

    bool refuse(const char* why) {
        if (where_ == Where::before) {
            where_ = Where::after;
            why = "a manifest is an object: { ... }";
        }
        if (where_ == Where::vm && key_ != nullptr) bad_vm_ |= 1u << (key_ - vm_keys);
        return report(why, line());
    }

    bool refuse_all(const char* why) {
        ++skipped_;
        if (where_ == Where::before) where_ = Where::after;
        if (where_ == Where::vm && key_ != nullptr) bad_vm_ |= 1u << (key_ - vm_keys);
        return report(why, line());
    }

    // What a VM must have. An error that was found already is not found again.
    bool check_vm() {
        bool go_on = true;
        constexpr unsigned name_bit = 1 << 0, kernel_bit = 1 << 2;
        static_assert(vm_keys[0].name == "name" && vm_keys[2].name == "kernel");
        set_key("name");
        if (vm().name[0] == 0 && (bad_vm_ & name_bit) == 0)
            go_on = report("a VM must have a name", vm_line_);
        for (unsigned i = 0; go_on && vm().name[0] != 0 && i < manifest_.vm_count; ++i) {
            if (std::string_view{manifest_.vms[i].name} != vm().name) continue;
            go_on = report("two VMs have the same name", name_line_);
            break;
        }
        set_key("kernel");
        if (go_on && vm().kernel[0] == 0 && (bad_vm_ & kernel_bit) == 0)
            go_on = report("a VM must have a kernel", vm_line_);
        return go_on;
    }

    bool store(std::string_view value) {
        void* const object = where_ == Where::vm       ? static_cast<void*>(&vm())
                             : where_ == Where::device ? static_cast<void*>(&device())
                                                       : &manifest_;
        const char* const complaint = store_value(*key_, value, object);
        return complaint == nullptr || refuse(complaint);
    }

    bool add_core(std::string_view digits) {
        CpuPlaces& cpus = vm().cpus;
        if (cpus.count == max_vcpus) return refuse(key_->complaint);
        static constexpr ManifestKey core{"core", Kind::number, 0,  sizeof(std::uint8_t), 0,
                                          63,     {},           {}, "a core is 0 to 63"};
        const char* const complaint = store_value(core, digits, &cpus.core[cpus.count]);
        ++cpus.count;
        return complaint == nullptr || refuse(complaint);
    }

    bool begin_device() {
        DeviceChoices& devices = vm().devices;
        if (devices.count == max_guest_functions) return refuse_all(devices_key().complaint);
        ++devices.count;
        device() = DeviceChoice{};
        seen_device_ = 0;
        where_ = Where::device;
        return true;
    }

    bool end_device() {
        where_ = Where::devices;
        key_ = &devices_key();
        set_key(key_->name);
        if (seen_device_ == 0) return refuse("it names no device: give pci, vendor or class");
        const bool is_half = device().device != DeviceChoice::any && !device().names_something();
        return !is_half || refuse("a device has a vendor");
    }

    static const ManifestKey& devices_key() { return *find_vm_key("devices"); }
    DeviceChoice& device() { return vm().devices.choice[vm().devices.count - 1]; }

    void set_key(std::string_view name) {
        const std::size_t length = std::min(name.size(), sizeof(name_) - 1);
        std::memset(name_, 0, sizeof(name_));
        std::memcpy(name_, name.data(), length);
    }

    VmConfig& vm() { return manifest_.vms[manifest_.vm_count]; }

    std::string_view text_;
    const rapidjson::MemoryStream& stream_;
    Manifest& manifest_;
    std::span<ManifestError> errors_;
    std::size_t found_ = 0;
    std::size_t counted_ = 0;  // so many bytes were searched for ends of lines
    unsigned line_ = 1;
    Where where_ = Where::before;
    const ManifestKey* key_ = nullptr;
    char name_[32] = {};  // of the key, also of one that is not known
    unsigned seen_node_ = 0, seen_vm_ = 0, seen_device_ = 0, bad_vm_ = 0;
    unsigned vm_line_ = 0, name_line_ = 0;
    unsigned skipped_ = 0;  // how deep within what is skipped
    bool skip_next_ = false;
    bool too_many_ = false;
};

const char* store_number(const ManifestKey& key, std::string_view digits, char* member) {
    std::uint64_t value = 0;
    for (const char c : digits) {
        if (c < '0' || c > '9') return "must be a whole number, not negative";
        value = value > max_number ? value : value * 10 + static_cast<unsigned>(c - '0');
    }
    if (digits.empty() || value < key.lowest || value > key.highest) return key.complaint;
    std::memcpy(member, &value, key.bytes);  // little endian
    return nullptr;
}

const char* store_text(const ManifestKey& key, std::string_view value, char* member) {
    if (key.bytes == 0) return nullptr;
    if (key.read != nullptr) return key.read(value, member) ? nullptr : key.complaint;
    if (value.size() >= key.bytes) return "the text is too long";
    for (const char c : value)
        if (static_cast<unsigned char>(c) < 32) return "the text has a control character";
    if (key.is_valid != nullptr && !key.is_valid(value)) return key.complaint;
    std::memcpy(member, value.data(), value.size());
    member[value.size()] = 0;
    return nullptr;
}

// Of a choice or a truth value.
const char* store_word(bool& member, std::string_view value, std::string_view yes,
                       std::string_view no, const char* complaint) {
    if (value != yes && value != no) return complaint;
    member = value == yes;
    return nullptr;
}

}  // namespace

const char* store_value(const ManifestKey& key, std::string_view value, void* object) {
    char* const member = static_cast<char*>(object) + key.offset;
    switch (key.kind) {
    case Kind::number: return store_number(key, value, member);
    case Kind::text: return store_text(key, value, member);
    case Kind::choice:
        return store_word(*reinterpret_cast<bool*>(member), value, key.yes, key.no, key.complaint);
    case Kind::flag:
        return store_word(*reinterpret_cast<bool*>(member), value, "true", "false",
                          "must be true or false");
    case Kind::cpus: {
        CpuPlaces cpus;
        ManifestKey count = key;
        count.offset = 0, count.bytes = sizeof(cpus.count);
        if (const char* const complaint =
                store_number(count, value, reinterpret_cast<char*>(&cpus.count)))
            return complaint;
        std::memcpy(member, &cpus, sizeof(cpus));
        return nullptr;
    }
    case Kind::devices:
    case Kind::vms: break;
    }
    return "it has no single value";
}

std::size_t check_manifest(std::string_view text, Manifest& manifest,
                           std::span<ManifestError> errors) {
    const std::span<VmConfig> room = manifest.vms;
    manifest = Manifest{};
    manifest.vms = room;
    rapidjson::MemoryStream stream{text.data(), text.size()};
    Handler handler{text, stream, manifest, errors};
    if (text.size() > max_manifest_bytes) {
        (void)handler.report("it is longer than 128 KiB", 1);
        return handler.errors();
    }
    Arena arena;
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, Arena> reader{&arena, 4096};
    constexpr unsigned flags = rapidjson::kParseCommentsFlag | rapidjson::kParseTrailingCommasFlag |
                               rapidjson::kParseNumbersAsStringsFlag |
                               rapidjson::kParseIterativeFlag;
    const rapidjson::ParseResult result = reader.Parse<flags>(stream, handler);
    // It stops for want of room, or at what is no JSON; and it takes a zero byte for the end.
    if (result.IsError() && result.Code() != rapidjson::kParseErrorTermination)
        (void)handler.report(rapidjson::GetParseError_En(result.Code()),
                             handler.line_of(result.Offset()));
    else if (!result.IsError() && stream.Tell() != text.size())
        (void)handler.report("there is a zero byte in the text", handler.line_of(stream.Tell()));
    return handler.errors();
}

ManifestError parse_manifest(std::string_view text, Manifest& manifest) {
    ManifestError e;
    (void)check_manifest(text, manifest, {&e, 1});
    return e;
}

}  // namespace margay::init

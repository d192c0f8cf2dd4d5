#include "servers/init/manifest.hpp"

#include "servers/init/integer_json.hpp"

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

enum class Where { before, node, vms, vm, after };

class Handler : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Handler> {
  public:
    explicit Handler(Manifest& m) : manifest_{m} {}

    const char* error() const { return error_; }
    const char* key() const { return key_; }

    bool Null() { return refuse("null is no value here"); }
    bool Bool(bool) { return refuse("a truth value is not expected here"); }
    bool Int(int) { return refuse("a number is not expected here"); }
    bool Uint(unsigned) { return refuse("a number is not expected here"); }
    bool Int64(std::int64_t) { return refuse("a number is not expected here"); }
    bool Uint64(std::uint64_t) { return refuse("a number is not expected here"); }

    bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
        if (where_ == Where::before) return refuse("a manifest is an object: { ... }");
        std::uint64_t value = 0;
        for (rapidjson::SizeType i = 0; i < length; ++i) {
            if (text[i] < '0' || text[i] > '9' || value > 1ull << 50)
                return refuse("must be a whole number, not negative");
            value = value * 10 + static_cast<unsigned>(text[i] - '0');
        }
        if (where_ == Where::vm) {
            for (const NumberKey& k : number_keys) {
                if (!is(k.name)) continue;
                if (value < k.lowest || value > k.highest) return refuse(k.range);
                vm().*k.member = value;
                return true;
            }
        }
        if (where_ == Where::node && is("test_exit_port")) {
            if (value > 0xffff) return refuse("must be an I/O port, 0 to 65535");
            manifest_.test_exit_port = static_cast<std::uint16_t>(value);
            return true;
        }
        return refuse(is_known() ? "a number is not expected here" : "unknown key");
    }

    bool String(const char* text, rapidjson::SizeType length, bool) {
        const std::string_view value{text, length};
        if (where_ == Where::before) return refuse("a manifest is an object: { ... }");
        if (where_ == Where::vm) {
            if (is("name")) return set(vm().name, max_name, value);
            if (is("kernel")) return set(vm().kernel, max_name, value);
            if (is("initrd")) return set(vm().initrd, max_name, value);
            if (is("append")) return set(vm().append, max_append, value);
            if (is("vmm")) return set(vm().vmm, max_name, value);
            if (is("vmm_fallback")) return set(vm().vmm_fallback, max_name, value);
            if (is("vmm_options")) return set(vm().vmm_options, max_append, value);
            if (is("console")) {
                if (value != "attached" && value != "detached")
                    return refuse("must be \"attached\" or \"detached\"");
                vm().attached = value == "attached";
                return true;
            }
        }
        if (where_ == Where::node && is("on_last_vm_off")) {
            if (value != "power-off" && value != "stay")
                return refuse("must be \"power-off\" or \"stay\"");
            manifest_.power_off_with_last_vm = value == "power-off";
            return true;
        }
        return refuse(is_known() ? "text is not expected here" : "unknown key");
    }

    bool StartObject() {
        if (where_ == Where::before) {
            where_ = Where::node;
            return true;
        }
        if (where_ != Where::vms) return refuse("an object is not expected here");
        if (manifest_.vm_count == max_vms) return refuse("more than 8 VMs");
        vm() = VmConfig{};
        seen_vm_ = 0;
        where_ = Where::vm;
        return true;
    }
    bool Key(const char* text, rapidjson::SizeType length, bool) {
        const std::string_view name{text, length};
        length = std::min<rapidjson::SizeType>(length, sizeof(key_) - 1);
        std::memcpy(key_, text, length);
        key_[length] = 0;
        const int index = index_of(name);
        if (index < 0) return refuse("unknown key");
        unsigned& seen = where_ == Where::vm ? seen_vm_ : seen_node_;
        if (seen >> index & 1) return refuse("appears twice");
        seen |= 1u << index;
        return true;
    }
    bool EndObject(rapidjson::SizeType) {
        if (where_ == Where::node) {
            where_ = Where::after;
            return true;
        }
        where_ = Where::vms;
        set_key("name");
        if (vm().name[0] == 0) return refuse("a VM must have a name");
        for (unsigned i = 0; i < manifest_.vm_count; ++i)
            if (std::string_view{manifest_.vms[i].name} == vm().name)
                return refuse("two VMs have the same name");
        set_key("kernel");
        if (vm().kernel[0] == 0) return refuse("a VM must have a kernel");
        ++manifest_.vm_count;
        set_key("vms");
        return true;
    }
    bool StartArray() {
        if (where_ != Where::node || !is("vms")) return refuse("a list is not expected here");
        where_ = Where::vms;
        return true;
    }
    bool EndArray(rapidjson::SizeType) {
        where_ = Where::node;
        return true;
    }

  private:
    static constexpr std::string_view node_keys[] = {"vms", "on_last_vm_off", "test_exit_port"};
    static constexpr std::string_view vm_keys[] = {"name",
                                                   "memory_mib",
                                                   "kernel",
                                                   "initrd",
                                                   "append",
                                                   "vmm",
                                                   "vmm_fallback",
                                                   "vmm_options",
                                                   "core",
                                                   "console",
                                                   "hang_ms",
                                                   "restart_limit",
                                                   "restart_window_ms",
                                                   "test_kill_us",
                                                   "test_kill_seed"};

    struct NumberKey {
        std::string_view name;
        std::uint64_t VmConfig::*member;
        std::uint64_t lowest, highest;
        const char* range;
    };
    static constexpr NumberKey number_keys[] = {
        {"memory_mib", &VmConfig::memory_mib, 1, max_vm_memory_mib, "must be 1 to 1048576 MiB"},
        {"core", &VmConfig::core, 0, 63, "must be 0 to 63"},
        {"hang_ms", &VmConfig::hang_ms, 10, 600'000, "must be 10 to 600000 ms"},
        {"restart_limit", &VmConfig::restart_limit, 0, 1'000'000, "must be 0 to 1000000"},
        {"restart_window_ms", &VmConfig::restart_window_ms, 1, 86'400'000,
         "must be 1 to 86400000 ms"},
        {"test_kill_us", &VmConfig::test_kill_us, 0, 1'000'000'000, "must be 0 to 1000000000 us"},
        {"test_kill_seed", &VmConfig::test_kill_seed, 0, ~0ull, "must be a whole number"},
    };

    int index_of(std::string_view name) const {
        int i = 0;
        if (where_ == Where::vm) {
            for (const std::string_view k : vm_keys) {
                if (k == name) return i;
                ++i;
            }
        } else {
            for (const std::string_view k : node_keys) {
                if (k == name) return i;
                ++i;
            }
        }
        return -1;
    }
    bool is(std::string_view name) const { return name == key_; }
    bool is_known() const { return index_of(key_) >= 0; }
    void set_key(std::string_view name) {
        std::memcpy(key_, name.data(), name.size());
        key_[name.size()] = 0;
    }
    VmConfig& vm() { return manifest_.vms[manifest_.vm_count]; }
    bool refuse(const char* why) {
        error_ = why;
        return false;
    }
    bool set(char* to, unsigned room, std::string_view value) {
        if (value.size() >= room) return refuse("the text is too long");
        for (char c : value)
            if (static_cast<unsigned char>(c) < 32)
                return refuse("the text has a control character");
        std::memcpy(to, value.data(), value.size());
        to[value.size()] = 0;
        return true;
    }

    Manifest& manifest_;
    Where where_ = Where::before;
    unsigned seen_node_ = 0, seen_vm_ = 0;
    const char* error_ = nullptr;
    char key_[32] = {};
};

}  // namespace

ManifestError parse_manifest(std::string_view text, Manifest& manifest) {
    manifest = Manifest{};
    ManifestError e;
    if (text.size() > max_manifest_bytes) {
        e.what = "it is longer than 64 KiB";
        e.line = 1;
        return e;
    }
    Arena arena;
    Handler handler{manifest};
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, Arena> reader{&arena, 4096};
    rapidjson::MemoryStream stream{text.data(), text.size()};
    constexpr unsigned flags = rapidjson::kParseCommentsFlag | rapidjson::kParseTrailingCommasFlag |
                               rapidjson::kParseNumbersAsStringsFlag |
                               rapidjson::kParseIterativeFlag;
    const rapidjson::ParseResult result = reader.Parse<flags>(stream, handler);
    // The reader takes a zero byte for the end.
    const bool whole = result.IsError() || stream.Tell() == text.size();
    if (!result.IsError() && whole) return e;
    const std::size_t offset = whole ? result.Offset() : stream.Tell();
    e.line = 1;
    for (std::size_t i = 0; i < offset && i < text.size(); ++i)
        if (text[i] == '\n') ++e.line;
    if (!whole) {
        e.what = "there is a zero byte in the text";
        return e;
    }
    const bool ours =
        result.Code() == rapidjson::kParseErrorTermination && handler.error() != nullptr;
    e.what = ours ? handler.error() : rapidjson::GetParseError_En(result.Code());
    std::memcpy(e.key, handler.key(), sizeof(e.key));
    return e;
}

}  // namespace margay::init

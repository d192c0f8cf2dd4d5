#include "servers/init/definition.hpp"

#include <cstring>

#include "servers/init/manifest_keys.hpp"
#include "support/format.hpp"

namespace margay::init {

namespace {

class Sink {
  public:
    Sink(char* to, unsigned room) : to_{to}, room_{room} {}
    void operator()(char c) {
        if (length_ < room_) to_[length_] = c;
        ++length_;
    }
    void text(std::string_view s) {
        (*this)('"');
        for (const char c : s) {
            if (c == '"' || c == '\\') (*this)('\\');
            if (static_cast<unsigned char>(c) < 0x20) {
                constexpr char digits[] = "0123456789abcdef";
                for (const char d : std::string_view{"\\u00"}) (*this)(d);
                (*this)(digits[c >> 4 & 15]);
                (*this)(digits[c & 15]);
                continue;
            }
            (*this)(c);
        }
        (*this)('"');
    }
    unsigned length() const { return length_ > room_ ? 0 : length_; }

  private:
    char* to_;
    unsigned room_, length_ = 0;
};

void write_value(Sink& sink, const ManifestKey& key, const unsigned char* member) {
    switch (key.kind) {
    case ManifestKey::Kind::text: return sink.text(reinterpret_cast<const char*>(member));
    case ManifestKey::Kind::number: {
        std::uint64_t value = 0;
        std::memcpy(&value, member, key.bytes);  // little endian
        return print(sink, "{}", value);
    }
    case ManifestKey::Kind::choice: return sink.text(*member != 0 ? key.yes : key.no);
    case ManifestKey::Kind::flag: return print(sink, "{}", *member != 0);
    case ManifestKey::Kind::cpus: {
        CpuPlaces cpus;
        std::memcpy(&cpus, member, sizeof(cpus));
        if (cpus.is_listed == 0) return print(sink, "{}", cpus.count);
        for (std::uint64_t i = 0; i < cpus.count; ++i)
            print(sink, i == 0 ? "[{}" : ",{}", static_cast<unsigned>(cpus.core[i]));
        return sink(']');
    }
    case ManifestKey::Kind::devices: {
        DeviceChoices devices;
        std::memcpy(&devices, member, sizeof(devices));
        return write_choices(sink, devices);
    }
    case ManifestKey::Kind::vms: return;
    }
}

}  // namespace

unsigned write_definition(const VmConfig& config, char* to, unsigned room) {
    static const VmConfig defaults;
    Sink sink{to, room};
    const auto* ours = reinterpret_cast<const unsigned char*>(&config);
    const auto* usual = reinterpret_cast<const unsigned char*>(&defaults);
    char before = '{';
    for (const ManifestKey& key : vm_keys) {
        if (key.bytes == 0) continue;
        const bool is_name = key.offset == offsetof(VmConfig, name);
        if (!is_name && std::memcmp(ours + key.offset, usual + key.offset, key.bytes) == 0)
            continue;
        sink(before);
        before = ',';
        sink.text(key.name);
        sink(':');
        write_value(sink, key, ours + key.offset);
    }
    sink('}');
    return sink.length();
}

}  // namespace margay::init

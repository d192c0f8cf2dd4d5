// What init would say of a manifest, on the host: the same parser. For ./margay and its tests, in JSON.
//
//     check_manifest FILE      {"errors": [{line, key, what}], "vms": [...], ...}; status 0 also with errors
//     check_manifest --keys    the keys that the parser takes, with their limits and defaults
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "servers/init/manifest_keys.hpp"
#include "support/cpu_features.hpp"

namespace {

using namespace margay::init;

constexpr std::size_t max_errors = 200;

std::string quoted(std::string_view text) {
    std::string s{'"'};
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 32) {
            char code[8];
            std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c));
            s += code;
            continue;
        }
        if (c == '"' || c == '\\') s += '\\';
        s += c;
    }
    return s + '"';
}

// The value that the member of a key has in an object.
std::string value_of(const ManifestKey& key, const void* object) {
    const auto* member = static_cast<const char*>(object) + key.offset;
    std::uint64_t number = 0;
    switch (key.kind) {
    case ManifestKey::Kind::vms: return "[]";
    case ManifestKey::Kind::text: return quoted(key.bytes == 0 ? "" : member);
    case ManifestKey::Kind::number:
        std::memcpy(&number, member, key.bytes);
        return std::to_string(number);
    case ManifestKey::Kind::choice:
        return quoted(*reinterpret_cast<const bool*>(member) ? key.yes : key.no);
    case ManifestKey::Kind::cpus: {
        const CpuPlaces& cpus = *reinterpret_cast<const CpuPlaces*>(member);
        if (cpus.is_listed == 0) return std::to_string(cpus.count);
        std::string list = "[";
        for (std::uint64_t i = 0; i < cpus.count; ++i)
            list += (i == 0 ? "" : ", ") + std::to_string(cpus.core[i]);
        return list + "]";
    }
    case ManifestKey::Kind::devices: {
        std::string list;
        write_choices([&list](char c) { list += c; },
                      *reinterpret_cast<const DeviceChoices*>(member));
        return list;
    }
    case ManifestKey::Kind::flag: return *reinterpret_cast<const bool*>(member) ? "true" : "false";
    }
    return "null";
}

// What parse_cpu_model() takes, as a regular expression of ECMA-262.
std::string cpu_model_pattern() {
    std::string names;
    for (const margay::CpuFeature& f : margay::cpu_features) {
        if (!names.empty()) names += '|';
        names += f.name;
    }
    const std::string change = "[-+](" + names + ")";
    return "^((host|x86-64(-v[1-4])?|" + change + ")(," + change + ")*)?$";
}

// What a text that stands for something else is, likewise.
std::string pattern_of(const ManifestKey& key) {
    const std::string digit = "[0-9a-fA-F]";
    if (key.name == "pci") return "^(0000:)?" + digit + "{2}:[01]" + digit + "\\.[0-7]$";
    return key.name == "class" ? "^(" + digit + "{2}){1,3}$" : "^" + digit + "{4}$";
}

std::string described(const ManifestKey& key, const void* defaults) {
    std::string s = "{\"name\": " + quoted(key.name);
    switch (key.kind) {
    case ManifestKey::Kind::vms:
        s += ", \"kind\": \"vms\", \"most\": " + std::to_string(max_vms);
        break;
    case ManifestKey::Kind::text:
        s += ", \"kind\": \"text\"";
        if (key.read != nullptr) return s + ", \"pattern\": " + quoted(pattern_of(key)) + "}";
        if (key.bytes != 0) s += ", \"most\": " + std::to_string(key.bytes - 1);
        if (key.name == "cpu") s += ", \"pattern\": " + quoted(cpu_model_pattern());
        break;
    case ManifestKey::Kind::number:
        s += ", \"kind\": \"number\", \"lowest\": " + std::to_string(key.lowest) +
             ", \"highest\": " + std::to_string(key.highest);
        break;
    case ManifestKey::Kind::choice:
        s += ", \"kind\": \"choice\", \"words\": [" + quoted(key.yes) + ", " + quoted(key.no) + "]";
        break;
    case ManifestKey::Kind::cpus:
        s += ", \"kind\": \"cpus\", \"lowest\": " + std::to_string(key.lowest) +
             ", \"highest\": " + std::to_string(key.highest);
        break;
    case ManifestKey::Kind::devices:
        s += ", \"kind\": \"devices\", \"most\": " + std::to_string(key.highest);
        break;
    case ManifestKey::Kind::flag: s += ", \"kind\": \"flag\""; break;
    }
    return s + ", \"default\": " + value_of(key, defaults) + "}";
}

template <typename Range, typename Print>
void print_list(const char* name, const Range& range, Print print) {
    std::printf("\"%s\": [", name);
    const char* between = "";
    for (const auto& element : range) {
        std::printf("%s\n  %s", between, print(element).c_str());
        between = ",";
    }
    std::printf("]");
}

int print_keys() {
    static const Manifest manifest;
    static const VmConfig vm;
    std::printf("{");
    print_list("node", node_keys, [](const ManifestKey& k) { return described(k, &manifest); });
    std::printf(", ");
    print_list("vm", vm_keys, [](const ManifestKey& k) { return described(k, &vm); });
    std::printf(", ");
    print_list("device", device_keys, [](const ManifestKey& k) { return described(k, nullptr); });
    std::printf("}\n");
    return 0;
}

std::string object(std::span<const ManifestKey> keys, const void* from) {
    std::string s, between = "{";
    for (const ManifestKey& k : keys) {
        if (k.kind == ManifestKey::Kind::vms || (k.kind == ManifestKey::Kind::text && k.bytes == 0))
            continue;
        s += between + quoted(k.name) + ": " + value_of(k, from);
        between = ", ";
    }
    return s + "}";
}

int check(const char* file) {
    std::ifstream in{file, std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{in}, {}};
    if (!in) {
        std::fprintf(stderr, "check_manifest: %s: %s\n", file, std::strerror(errno));
        return 2;
    }
    static VmConfig room[max_vms];
    static Manifest manifest;
    manifest.vms = room;
    std::vector<ManifestError> errors(max_errors);
    errors.resize(check_manifest(text, manifest, errors));
    std::stable_sort(
        errors.begin(), errors.end(),
        [](const ManifestError& a, const ManifestError& b) { return a.line < b.line; });
    std::printf("{");
    print_list("errors", errors, [](const ManifestError& e) {
        return "{\"line\": " + std::to_string(e.line) + ", \"key\": " + quoted(e.key) +
               ", \"what\": " + quoted(e.what) + "}";
    });
    std::printf(", ");
    print_list("vms", manifest.vms.first(manifest.vm_count),
               [](const VmConfig& vm) { return object(vm_keys, &vm); });
    std::printf(", \"node\": %s}\n", object(node_keys, &manifest).c_str());
    return 0;
}

}  // namespace

int main(int count, char** words) {
    if (count == 2 && std::strcmp(words[1], "--keys") == 0) return print_keys();
    if (count == 2 && words[1][0] != '-') return check(words[1]);
    std::fprintf(stderr, "usage: check_manifest FILE | --keys\n");
    return 2;
}

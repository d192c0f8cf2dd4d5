#include "servers/init/definition.hpp"
#include "servers/init/manifest.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>

#include "servers/init/manifest_keys.hpp"

namespace margay::init {
namespace {

// With room for all the VMs that there may be.
struct WholeManifest : Manifest {
    WholeManifest() { vms = room; }
    VmConfig room[max_vms];
};

struct Parsed {
    std::unique_ptr<WholeManifest> manifest = std::make_unique<WholeManifest>();
    ManifestError error;
};

// From a block of exactly that size: reading outside is an error of its own.
Parsed parse(const std::string& text) {
    Parsed p;
    const std::unique_ptr<char[]> copy{new char[text.size()]};
    std::copy(text.begin(), text.end(), copy.get());
    p.error = parse_manifest({copy.get(), text.size()}, *p.manifest);
    return p;
}

// One VM, one key per line; `more` is on line 5.
std::string with_vm(const std::string& more) {
    return "{\n\"vms\": [ {\n\"name\": \"a\",\n\"kernel\": \"k\",\n" + more + "\n} ] }";
}

TEST(Manifest, TheOneInTheRepository) {
    std::ifstream file{"boot/manifest.json"};
    std::stringstream text;
    text << file.rdbuf();
    const Parsed p = parse(text.str());
    ASSERT_EQ(p.error.what, nullptr) << p.error.what << " in line " << p.error.line;
    ASSERT_EQ(p.manifest->vm_count, 1u);
    EXPECT_STREQ(p.manifest->vms[0].name, "linux");
    EXPECT_EQ(p.manifest->vms[0].memory_mib, 256u);
    EXPECT_STREQ(p.manifest->vms[0].append, "console=ttyS0 panic=-1");
    EXPECT_TRUE(p.manifest->vms[0].attached);
    EXPECT_TRUE(p.manifest->power_off_with_last_vm);
    EXPECT_EQ(p.manifest->test_exit_port, 244);
}

TEST(Manifest, DefaultsCommentsAndTrailingCommas) {
    const Parsed p = parse(
        "// first\n{ /* a\nb */ \"vms\": [ { \"name\": \"a\", \"kernel\": \"k\", }, ], } // last");
    ASSERT_EQ(p.error.what, nullptr) << p.error.what;
    const VmConfig& vm = p.manifest->vms[0];
    EXPECT_EQ(vm.memory_mib, 256u);
    EXPECT_STREQ(vm.vmm, "vmm");
    EXPECT_STREQ(vm.initrd, "");
    EXPECT_EQ(vm.core, 0u);
    EXPECT_TRUE(vm.attached);
    EXPECT_EQ(parse("{}").error.what, nullptr);
    EXPECT_EQ(parse("{\"vms\": []}").manifest->vm_count, 0u);
}

TEST(Manifest, EveryKeyIsTaken) {
    const Parsed p = parse("{\"on_last_vm_off\": \"stay\", \"test_exit_port\": 65535, \"vms\": "
                           "[{\"name\": \"a\", \"memory_mib\": 1048576, "
                           "\"kernel\": \"k\", \"initrd\": \"i\", \"append\": \"quiet \\\"x\\\"\", "
                           "\"vmm\": \"v\", \"core\": 63, \"vmm_fallback\": \"f\", "
                           "\"vmm_options\": \"o=1 p\", \"unknown_msrs\": \"zero\", \"cpu\": "
                           "\"x86-64-v2,+aes\", \"hang_ms\": "
                           "10, \"restart_limit\": 0, "
                           "\"restart_window_ms\": 1, \"test_kill_us\": 7, \"test_kill_seed\": 8, "
                           "\"console\": \"detached\"}, {\"kernel\": \"k\", \"name\": \"b\"}]}");
    ASSERT_EQ(p.error.what, nullptr) << p.error.what;
    EXPECT_FALSE(p.manifest->power_off_with_last_vm);
    EXPECT_EQ(p.manifest->test_exit_port, 65535);
    const VmConfig& vm = p.manifest->vms[0];
    EXPECT_EQ(vm.memory_mib, 1048576u);
    EXPECT_STREQ(vm.initrd, "i");
    EXPECT_STREQ(vm.append, "quiet \"x\"");
    EXPECT_STREQ(vm.vmm, "v");
    EXPECT_EQ(vm.core, 63u);
    EXPECT_FALSE(vm.attached);
    EXPECT_STREQ(vm.vmm_fallback, "f");
    EXPECT_STREQ(vm.vmm_options, "o=1 p");
    EXPECT_TRUE(vm.zero_unknown_msrs);
    EXPECT_STREQ(vm.cpu, "x86-64-v2,+aes");
    EXPECT_EQ(vm.hang_ms, 10u);
    EXPECT_EQ(vm.restart_limit, 0u);
    EXPECT_EQ(vm.restart_window_ms, 1u);
    EXPECT_EQ(vm.test_kill_us, 7u);
    EXPECT_EQ(vm.test_kill_seed, 8u);
    EXPECT_EQ(p.manifest->vm_count, 2u);
    EXPECT_EQ(p.manifest->vms[1].memory_mib, 256u) << "not the one before's";
    EXPECT_STREQ(p.manifest->vms[1].cpu, "host");
}

struct Case {
    const char* name;
    std::string text;
    unsigned line;
    const char* key;
    const char* what;  // part of it
};

class ManifestErrors : public testing::TestWithParam<Case> {};

TEST_P(ManifestErrors, NameLineAndKey) {
    const Case& c = GetParam();
    const Parsed p = parse(c.text);
    ASSERT_NE(p.error.what, nullptr);
    EXPECT_EQ(p.error.line, c.line) << p.error.what;
    EXPECT_STREQ(p.error.key, c.key) << p.error.what;
    EXPECT_NE(std::string{p.error.what}.find(c.what), std::string::npos) << p.error.what;
}

std::string vms(unsigned count) {
    std::string s = "{\"vms\": [";
    for (unsigned i = 0; i < count; ++i)
        s += "\n{\"name\": \"" + std::to_string(i) + "\", \"kernel\": \"k\"},";
    return s + "]}";
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ManifestErrors,
    testing::Values(
        Case{"UnknownKey", with_vm("\"colour\": 1"), 5, "colour", "unknown key"},
        Case{"UnknownNodeKey", "{\n\"vm\": []}", 2, "vm", "unknown key"},
        Case{"KeyOfAnotherPlace", "{\n\"memory_mib\": 4}", 2, "memory_mib", "unknown key"},
        Case{"Duplicate", with_vm("\"core\": 1, \"core\": 1"), 5, "core", "appears twice"},
        Case{"DuplicateName", with_vm("\"name\": \"b\""), 5, "name", "appears twice"},
        Case{"DuplicateNodeKey", "{\"vms\": [],\n\"vms\": []}", 2, "vms", "appears twice"},
        Case{"NumberForText", with_vm("\"append\": 1"), 5, "append", "number is not expected"},
        Case{"TextForNumber", with_vm("\"core\": \"1\""), 5, "core", "text is not expected"},
        Case{"Truth", with_vm("\"core\": true"), 5, "core", "truth value"},
        Case{"Null", with_vm("\"initrd\": null"), 5, "initrd", "null"},
        Case{"ListForText", with_vm("\"append\": []"), 5, "append", "list is not expected"},
        Case{"ObjectForText", with_vm("\"append\": {}"), 5, "append", "object is not expected"},
        Case{"NumberAsVm", "{\"vms\": [\n5]}", 2, "vms", "number is not expected"},
        Case{"VmsIsNumber", "{\"vms\":\n5}", 2, "vms", "number is not expected"},
        Case{"NoMemory", with_vm("\"memory_mib\": 0"), 5, "memory_mib", "1 to 1048576"},
        Case{"TooMuchMemory", with_vm("\"memory_mib\": 1048577"), 5, "memory_mib", "1 to 1048576"},
        Case{"Core", with_vm("\"core\": 64"), 5, "core", "0 to 63"},
        Case{"Level", with_vm("\"cpu\": \"x86-64-v5\""), 5, "cpu", "must be \"host\""},
        Case{"Feature", with_vm("\"cpu\": \"-avx3\""), 5, "cpu", "-FEATURE"},
        Case{"HangTooShort", with_vm("\"hang_ms\": 9"), 5, "hang_ms", "10 to 600000"},
        Case{"RestartLimit", with_vm("\"restart_limit\": 1000001"), 5, "restart_limit",
             "0 to 1000000"},
        Case{"RestartWindow", with_vm("\"restart_window_ms\": 0"), 5, "restart_window_ms",
             "1 to 86400000"},
        Case{"KillForTest", with_vm("\"test_kill_us\": 1000000001"), 5, "test_kill_us",
             "0 to 1000000000"},
        Case{"FallbackNumber", with_vm("\"vmm_fallback\": 3"), 5, "vmm_fallback", "not expected"},
        Case{"Port", "{\"test_exit_port\": 65536}", 1, "test_exit_port", "65535"},
        Case{"Negative", with_vm("\"core\": -1"), 5, "core", "whole number"},
        Case{"Fraction", with_vm("\"core\": 1.5"), 5, "core", "whole number"},
        Case{"Exponent", with_vm("\"core\": 1e1"), 5, "core", "whole number"},
        Case{"Huge", with_vm("\"memory_mib\": 18446744073709551616"), 5, "memory_mib", ""},
        Case{"HugeWraps", with_vm("\"core\": 18446744073709551617"), 5, "core", ""},
        Case{"Console", with_vm("\"console\": \"on\""), 5, "console", "attached"},
        Case{"LastVm", "{\"on_last_vm_off\": \"explode\"}", 1, "on_last_vm_off", "power-off"},
        Case{"LongName", "{\"vms\": [{\"name\": \"123456789012345678901234\"}]}", 1, "name",
             "too long"},
        Case{"LongAppend", with_vm("\"append\": \"" + std::string(2048, 'a') + "\""), 5, "append",
             "too long"},
        Case{"Control", with_vm("\"append\": \"a\\nb\""), 5, "append", "control character"},
        Case{"EscapedZero", with_vm("\"append\": \"a\\u0000b\""), 5, "append", "control character"},
        Case{"WithoutName", "{\"vms\": [\n{\"kernel\": \"k\"}]}", 2, "name", "must have a name"},
        Case{"EmptyName", "{\"vms\": [\n{\"kernel\": \"k\", \"name\": \"\"}]}", 2, "name",
             "must have a name"},
        Case{"WithoutKernel", "{\"vms\": [\n{\"name\": \"a\"}]}", 2, "kernel",
             "must have a kernel"},
        Case{"SameName",
             "{\"vms\": [{\"name\": \"a\", \"kernel\": \"k\"},\n{\"name\": \"a\", \"kernel\": "
             "\"k\"}]}",
             2, "name", "same name"},
        Case{"TooManyVms", vms(255), 256, "vms", "more than 254"},
        Case{"NumberAtTheTop", "\n5", 2, "", "object"},
        Case{"TextAtTheTop", "\"x\"", 1, "", "object"},
        Case{"ListAtTheTop", "[]", 1, "", "list is not expected"}, Case{"Empty", "", 1, "", ""},
        Case{"OnlyComments", "// nothing\n", 2, "", ""}, Case{"OpenComment", "{ /* \n", 2, "", ""},
        Case{"Truncated", "{\"vms\": [\n{\"name\": \"a\",", 2, "name", ""},
        Case{"OpenText", "{\"vms\": [\n{\"name\": \"a", 2, "name", ""},
        Case{"Garbage", "{}\n}", 2, "", ""}, Case{"TwoRoots", "{}\n{}", 2, "", ""},
        Case{"ZeroByte", std::string("{}\n\0{", 5), 2, "", "zero byte"},
        Case{"ByteOrderMark", "\xef\xbb\xbf{}", 1, "", ""}),
    [](const auto& info) { return std::string{info.param.name}; });

// Each is found, whatever was wrong before it, and none twice.
TEST(Manifest, EveryErrorIsFound) {
    const std::string text =
        "{\n"
        "\"vm\": {\"name\": [1, {\"core\": 99}]},\n"  // skipped with all that is in it
        "\"vms\": [\n"
        "  {\"name\": \"a\",\n"
        "   \"kernel\": 7,\n"  // and not missed at the end as well
        "   \"core\": 64, \"core\": \"x\",\n"
        "   \"append\": [[\"\"]]},\n"
        "  8,\n"
        "  {\n"
        "   \"memory_mib\": 0},\n"
        "  {\"kernel\": \"k\",\n"
        "   \"name\": \"a\"}],\n"
        "\"test_exit_port\": -1,\n"
        "\"on_last_vm_off\": null\n"
        "}}";
    struct Want {
        unsigned line;
        const char *key, *what;
    };
    const Want wanted[] = {{2, "vm", "unknown key"},
                           {5, "kernel", "a number is not expected"},
                           {6, "core", "0 to 63"},
                           {6, "core", "appears twice"},
                           {7, "append", "a list is not expected"},
                           {8, "vms", "a number is not expected"},
                           {10, "memory_mib", "1 to 1048576"},
                           {9, "name", "must have a name"},
                           {9, "kernel", "must have a kernel"},
                           {12, "name", "same name"},
                           {13, "test_exit_port", "whole number"},
                           {14, "on_last_vm_off", "null"},
                           {15, "on_last_vm_off", "root"}};
    const auto manifest = std::make_unique<WholeManifest>();
    ManifestError found[20];
    const std::size_t count = check_manifest(text, *manifest, found);
    ASSERT_EQ(count, std::size(wanted));
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(found[i].line, wanted[i].line) << i;
        EXPECT_STREQ(found[i].key, wanted[i].key) << i;
        EXPECT_NE(std::string{found[i].what}.find(wanted[i].what), std::string::npos)
            << found[i].what;
    }
    // With less room it stops where that ends.
    for (std::size_t room = 1; room < count; ++room) {
        ManifestError some[20];
        ASSERT_EQ(check_manifest(text, *manifest, {some, room}), room);
        EXPECT_STREQ(some[room - 1].what,
                     wanted[room - 1].what == nullptr ? nullptr : found[room - 1].what);
        EXPECT_EQ(some[room].what, nullptr);
    }
}

TEST(Manifest, TooManyVmsAreOneError) {
    const auto manifest = std::make_unique<WholeManifest>();
    ManifestError found[20];
    EXPECT_EQ(check_manifest(vms(300), *manifest, found), 1u);
    EXPECT_EQ(manifest->vm_count, max_vms);
    EXPECT_EQ(check_manifest(vms(254), *manifest, found), 0u);
    EXPECT_STREQ(manifest->vms[253].name, "253");
    // Whoever has room for one is told so.
    manifest->vms = manifest->vms.first(1);
    EXPECT_EQ(check_manifest(vms(3), *manifest, found), 1u);
    EXPECT_STREQ(found[0].what, "more than one VM");
}

// What `set` does: a value by itself is taken as in a manifest, or refused with nothing changed.
TEST(ManifestKeys, OneValue) {
    VmConfig vm;
    const auto set = [&vm](std::string_view key, std::string_view value) -> std::string {
        const ManifestKey* k = find_vm_key(key);
        if (k == nullptr) return "no key";
        const char* complaint = store_value(*k, value, &vm);
        return complaint == nullptr ? "" : complaint;
    };
    EXPECT_EQ(set("hang_ms", "10"), "");
    EXPECT_EQ(vm.hang_ms, 10u);
    for (const char* bad : {"9", "600001", "", "-1", "1.5", "x", "99999999999999999999999"})
        EXPECT_NE(set("hang_ms", bad), "") << bad;
    EXPECT_EQ(vm.hang_ms, 10u);
    EXPECT_EQ(set("standby", "true"), "");
    EXPECT_TRUE(vm.standby);
    EXPECT_EQ(set("standby", "yes"), "must be true or false");
    EXPECT_EQ(set("on_reset", "stop"), "");
    EXPECT_FALSE(vm.restarts_on_reset);
    EXPECT_EQ(set("on_reset", "go"), "must be \"restart\" or \"stop\"");
    EXPECT_EQ(set("append", "a b"), "");
    EXPECT_EQ(set("append", std::string(2048, 'a')), "the text is too long");
    EXPECT_EQ(set("append", "a\nb"), "the text has a control character");
    EXPECT_STREQ(vm.append, "a b");
    EXPECT_EQ(set("append", ""), "");
    EXPECT_STREQ(vm.append, "");
    EXPECT_EQ(set("colour", "1"), "no key");
}

// What is said about a value names the limits that the table has.
TEST(ManifestKeys, ComplaintsNameTheLimits) {
    unsigned numbers = 0;
    const auto look = [&numbers](std::span<const ManifestKey> keys) {
        for (const ManifestKey& k : keys) {
            if (k.kind != ManifestKey::Kind::number) continue;
            ++numbers;
            const std::string range = std::to_string(k.lowest) + " to " + std::to_string(k.highest);
            EXPECT_NE(std::string{k.complaint}.find(range), std::string::npos) << k.complaint;
        }
    };
    look(node_keys);
    look(vm_keys);
    EXPECT_GE(numbers, 8u);
}

// A number of vCPUs, or the core of each.
TEST(Manifest, Cpus) {
    const auto places = [](const std::string& value) {
        const Parsed p = parse(with_vm("\"cpus\": " + value));
        EXPECT_EQ(p.error.what, nullptr) << value << ": " << p.error.what;
        return p.manifest->vms[0];
    };
    EXPECT_EQ(parse(with_vm("\"core\": 3")).manifest->vms[0].cpus.count, 1u);
    VmConfig vm = places("4");
    EXPECT_EQ(vm.cpus.count, 4u);
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(core_of(vm, i, 8), i);
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(core_of(vm, i, 2), i % 2);
    vm.core = 1;
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(core_of(vm, i, 3), 1 + i % 2);
    vm.core = 5;
    EXPECT_EQ(core_of(vm, 0, 3), 5u);  // which the node has not
    vm = places("[2, 0, 2]");
    EXPECT_EQ(vm.cpus.count, 3u);
    EXPECT_EQ(core_of(vm, 0, 8), 2u);
    EXPECT_EQ(core_of(vm, 1, 8), 0u);
    EXPECT_EQ(core_of(vm, 2, 8), 2u);
    const auto refused = [](const std::string& value, const std::string& why) {
        const Parsed p = parse(with_vm("\"cpus\": " + value));
        ASSERT_NE(p.error.what, nullptr) << value;
        EXPECT_NE(std::string{p.error.what}.find(why), std::string::npos) << p.error.what;
        EXPECT_STREQ(p.error.key, "cpus") << value;
    };
    refused("0", "must be 1 to 64");
    refused("65", "must be 1 to 64");
    refused("-1", "a whole number");
    refused("\"2\"", "text is not expected");
    refused("true", "a truth value");
    refused("[]", "it has no cores");
    refused("[64]", "a core is 0 to 63");
    refused("[1.5]", "a whole number");
    refused("[\"a\"]", "text is not expected");
    refused("[[1]]", "a list is not expected");
    refused("[{}]", "an object is not expected");
    std::string many = "[0";
    for (unsigned i = 0; i < 64; ++i) many += ",0";
    refused(many + "]", "must be 1 to 64");
}

// Functions by address, vendor and device, or class.
TEST(Manifest, Devices) {
    const Parsed p = parse(with_vm(
        R"("devices": [{"pci": "0000:00:1f.3"}, {"vendor": "1b36", "device": "0010"}, {"class": "0108"}, {"pci": "ff:1F.7"}])"));
    ASSERT_EQ(p.error.what, nullptr) << p.error.what;
    const DeviceChoices& d = p.manifest->vms[0].devices;
    ASSERT_EQ(d.count, 4u);
    PciFunction nvme{}, nic{};
    nvme.requester = 0x10, nvme.vendor = 0x1b36, nvme.device = 0x0010, nvme.class_code = 0x010802;
    nic.requester = 0xfb, nic.vendor = 0x8086, nic.device = 0x10d3, nic.class_code = 0x020000;
    EXPECT_FALSE(d.choice[0].fits(nvme));
    EXPECT_TRUE(d.choice[0].fits(nic));
    EXPECT_TRUE(d.choice[1].fits(nvme));
    EXPECT_FALSE(d.choice[1].fits(nic));
    EXPECT_TRUE(d.choice[2].fits(nvme));
    EXPECT_FALSE(d.choice[2].fits(nic));
    EXPECT_EQ(d.choice[3].requester, 0xffffu);
    EXPECT_EQ(parse(with_vm("\"core\": 3")).manifest->vms[0].devices.count, 0u);
    EXPECT_EQ(parse(with_vm("\"devices\": []")).error.what, nullptr);
    const auto refused = [](const std::string& value, const std::string& key,
                            const std::string& why) {
        const Parsed r = parse(with_vm("\"devices\": " + value));
        ASSERT_NE(r.error.what, nullptr) << value;
        EXPECT_NE(std::string{r.error.what}.find(why), std::string::npos) << r.error.what;
        EXPECT_EQ(r.error.key, key) << value;
    };
    for (const std::string bad : {"", "00:03", "1:00:03.0", "0001:00:03.0", "00:20.0", "00:03.8",
                                  "00:03.00", "g0:03.0", "00-03.0", "0000:0000:03.0"})
        refused("[{\"pci\": \"" + bad + "\"}]", "pci", "an address such as");
    for (const std::string bad : {"", "808", "80860", "80g6", "-806"})
        refused("[{\"vendor\": \"" + bad + "\"}]", "vendor", "four hexadecimal digits");
    for (const std::string bad : {"", "1", "108", "01080", "0108020", "zz"})
        refused("[{\"class\": \"" + bad + "\"}]", "class", "two, four or six");
    refused("[{}]", "devices", "it names no device");
    refused("[{\"device\": \"0010\"}]", "devices", "a device has a vendor");
    refused("[{\"pci\": \"00:03.0\", \"pci\": \"00:03.0\"}]", "pci", "appears twice");
    refused("[{\"name\": \"a\"}]", "name", "unknown key");
    refused("[\"00:03.0\"]", "devices", "text is not expected");
    refused("[[]]", "devices", "a list is not expected");
    refused("{}", "devices", "an object is not expected");
    refused("1", "devices", "a number is not expected");
    std::string many = "[";
    for (unsigned i = 0; i < 5; ++i) many += std::string{i == 0 ? "" : ","} + "{\"class\": \"02\"}";
    refused(many + "]", "devices", "more than 4 devices");
}

TEST(Manifest, DevicesAreWrittenAsTheyWereRead) {
    const std::string value =
        R"([{"pci":"0000:01:00.0"},{"vendor":"1b36","device":"0010"},{"vendor":"8086","class":"02"},{"class":"010802"}])";
    const Parsed p = parse(with_vm("\"devices\": " + value));
    ASSERT_EQ(p.error.what, nullptr) << p.error.what;
    char text[512];
    const unsigned length = write_definition(p.manifest->vms[0], text, sizeof(text));
    EXPECT_NE((std::string_view{text, length}.find("\"devices\":" + value)), std::string::npos)
        << std::string_view(text, length);
}

// What `define` is given of a saved VM says the same again.
TEST(Manifest, CpusAreWrittenAsTheyWereRead) {
    for (const std::string value : {"1", "3", "[0]", "[2,0,2]"}) {
        const Parsed p = parse(with_vm("\"cpus\": " + value));
        ASSERT_EQ(p.error.what, nullptr);
        char text[512];
        const unsigned length = write_definition(p.manifest->vms[0], text, sizeof(text));
        const std::string_view written{text, length};
        EXPECT_EQ(written.find("\"cpus\":" + value) != std::string::npos, value != "1") << written;
    }
}

// None of these may exhaust anything: init must live to say what is wrong.
TEST(Manifest, LargeInputIsACleanError) {
    const std::size_t limit = max_manifest_bytes;
    const auto refused = [](const std::string& text) { return parse(text).error.what != nullptr; };
    EXPECT_EQ(parse("{}" + std::string(limit - 2, ' ')).error.what, nullptr);
    const Parsed too_long = parse("{}" + std::string(limit - 1, ' '));
    ASSERT_NE(too_long.error.what, nullptr);
    EXPECT_STREQ(too_long.error.what, "it is longer than 128 KiB");
    EXPECT_EQ(too_long.error.line, 1u);
    EXPECT_EQ(too_long.manifest->vm_count, 0u);
    for (const std::size_t n :
         {std::size_t{5000}, std::size_t{20000}, std::size_t{40000}, limit - 200}) {
        EXPECT_TRUE(refused(std::string(n, '[')));
        EXPECT_TRUE(refused("{\"vms\": [" + std::string(n, '[')));
        EXPECT_TRUE(refused("{\"vms\": [" + std::string(n, '{')));
        EXPECT_TRUE(refused("{\"" + std::string(n, 'k') + "\": 1}"));
        EXPECT_TRUE(refused(with_vm("\"append\": \"" + std::string(n, 'a') + "\"")));
        EXPECT_TRUE(refused(with_vm("\"core\": " + std::string(n, '9'))));
        EXPECT_TRUE(refused(with_vm("\"core\": 0." + std::string(n, '9'))));
        EXPECT_TRUE(refused(with_vm("\"core\": 1e" + std::string(n, '9'))));
        EXPECT_TRUE(refused(with_vm("\"append\": \"" + std::string(n, '\\'))));
    }
    std::string nested;
    for (unsigned i = 0; i < 5000; ++i) nested += "{\"vms\":[";
    EXPECT_TRUE(refused(nested));
}

TEST(Manifest, TruncationAtEveryLengthIsRefused) {
    const std::string text = with_vm("\"append\": \"x\", \"core\": 3");
    ASSERT_EQ(parse(text).error.what, nullptr);
    for (std::size_t n = 0; n < text.size(); ++n)
        EXPECT_NE(parse(text.substr(0, n)).error.what, nullptr) << n;
}

TEST(Manifest, RandomDamage) {
    std::mt19937 random{4};
    const std::string text = with_vm("\"append\": \"x\", \"core\": 3, // note\n\"memory_mib\": 64");
    for (unsigned n = 0; n < 20000; ++n) {
        std::string s = text;
        for (unsigned k = 0; k < 1 + n % 4; ++k) {
            const std::size_t at = random() % s.size();
            if (random() % 2 == 0)
                s[at] = "{}[]\",:0/*\\"[random() % 11];
            else
                s[at] = static_cast<char>(random());
        }
        const Parsed p = parse(s);
        if (p.error.what != nullptr) {
            EXPECT_GE(p.error.line, 1u);
            continue;
        }
        for (unsigned i = 0; i < p.manifest->vm_count; ++i)
            EXPECT_NE(p.manifest->vms[i].name[0], 0);
    }
}

}  // namespace
}  // namespace margay::init

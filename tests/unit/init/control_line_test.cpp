#include "servers/init/control/control_line.hpp"

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <memory>
#include <ostream>
#include <random>
#include <string>

#include "proto/sealed_line.hpp"
#include "tests/unit/init/fake_operations.hpp"

namespace margay::init {
namespace {

class ControlLineTest : public testing::Test {
  protected:
    std::string send(const std::string& text) {
        for (char c : text) line_->type(c);
        std::string s{line_->output().pending()};
        while (!line_->output().empty()) line_->output().pop();
        return s;
    }
    // One reply, which must be a whole line of JSON.
    std::string ask(const std::string& request) {
        std::string s = send(request + "\n");
        EXPECT_FALSE(s.empty());
        EXPECT_EQ(s.find('\n'), s.size() - 1) << s;
        document_.Parse<rapidjson::kParseValidateEncodingFlag>(s.data(), s.size());
        EXPECT_FALSE(document_.HasParseError()) << s;
        return s;
    }

    FakeOperations operations_;
    std::unique_ptr<ControlLine> line_ = std::make_unique<ControlLine>(operations_);
    rapidjson::Document document_;
};

TEST_F(ControlLineTest, List) {
    EXPECT_EQ(ask(R"({"id": 7, "command": "list"})"),
              R"({"id":7,"ok":true,"result":[{"id":1,"name":"linux","state":"running","core":1,)"
              R"("memory_mib":256,"exits":39450,"vmm":"vmm","restarts":0},)"
              R"({"id":2,"name":"two","state":"failed","core":0,"memory_mib":0,"exits":0,)"
              R"("vmm":"vmm-old","restarts":0}]})"
              "\n");
}

TEST_F(ControlLineTest, Exits) {
    EXPECT_EQ(
        ask(R"({"id": 7, "command": "exits", "vm": "linux"})"),
        R"({"id":7,"ok":true,"result":{"vm":"linux","vcpus":[)"
        R"({"core":1,"exits":{"startup":[1,5000],"cpuid":[20,30001]},"kernel":{"interrupt":7}},)"
        R"({"core":0,"exits":{"cpuid":[3,40]},"kernel":{}}]}})"
        "\n");
    ask(R"({"command": "exits", "vm": "two"})");
    EXPECT_STREQ(document_["error"].GetString(),
                 "VM 'two' is off; its exits are counted while it is on");
    EXPECT_STREQ(document_["kind"].GetString(), "state");
    ask(R"({"command": "exits"})");
    EXPECT_STREQ(document_["kind"].GetString(), "usage");
    ask(R"({"command": "exits", "vm": "three"})");
    EXPECT_STREQ(document_["kind"].GetString(), "not found");
    EXPECT_TRUE(operations_.executed.empty());
}

// Of all classes and as many vCPUs as a VM may have, in numbers that a century does not reach.
TEST_F(ControlLineTest, ExitsOfTheLargestVmAreOneAnswer) {
    CpuExits most;
    most.core = max_cores - 1;
    for (CpuExits::Class& c : most.of) c = {1ull << 45, 3'200'000'000'000'000'000};
    for (std::uint64_t& n : most.by_kernel) n = 1ull << 45;
    operations_.exits[0].assign(max_vcpus, most);
    ask(R"({"command": "exits", "vm": "linux"})");
    EXPECT_TRUE(document_["ok"].GetBool());
    EXPECT_EQ(document_["result"]["vcpus"].Size(), max_vcpus);
}

TEST_F(ControlLineTest, PiecesOfModules) {
    const auto piece = [](std::uint32_t transfer, std::uint64_t offset, const std::string& bytes) {
        std::string payload, s;
        for (unsigned i = 0; i < 4; ++i) payload += static_cast<char>(transfer >> 8 * i);
        for (unsigned i = 0; i < 8; ++i) payload += static_cast<char>(offset >> 8 * i);
        frame::write([&s](char c) { s += c; }, frame::type::chunk, 7, payload + bytes);
        return s;
    };
    // What is answered: the type of each frame, and its payload.
    const auto answer = [this](const std::string& sent) {
        std::string text;
        frame::Reader reader;
        for (const char c : send(sent)) {
            if (reader.take(c) != frame::Reader::Found::frame) continue;
            EXPECT_EQ(reader.stream(), 7);
            text += reader.type() + std::string{reader.payload()} + ";";
        }
        return text;
    };
    const std::string thousand(1000, 'x');
    EXPECT_EQ(answer(piece(2, 0, "x")), "Enot found: there is no such transfer;");
    EXPECT_EQ(answer(piece(1, 0, thousand)), "");
    // It says how far it has come every 4 KiB, and when it is asked.
    EXPECT_EQ(answer(piece(1, 1000, thousand) + piece(1, 2000, thousand) +
                     piece(1, 3000, thousand) + piece(1, 4000, thousand)),
              std::string("B\x01\0\0\0\x88\x13\0\0\0\0\0\0;", 14));
    EXPECT_EQ(answer(piece(1, 5000, "")), std::string("B\x01\0\0\0\x88\x13\0\0\0\0\0\0;", 14));
    // A request between pieces.
    EXPECT_NE(send(piece(1, 5000, "") + R"({"command": "list"})" + "\n").find("linux"),
              std::string::npos);
    operations_.awaited = 5003;
    EXPECT_EQ(answer(piece(1, 5000, "xyz")), "C;");
    EXPECT_EQ(operations_.received.substr(4999), "xxyz");
    // No piece at all, a frame of another type, a damaged one.
    std::string s;
    frame::write([&s](char c) { s += c; }, frame::type::chunk, 7, "short");
    EXPECT_EQ(answer(s), "Eusage: a piece has 12 bytes and more;");
    s.clear();
    frame::write([&s](char c) { s += c; }, frame::type::data, 7, "0123456789abcdef");
    EXPECT_EQ(answer(s), "");
    s = piece(1, 0, "x");
    s[10] ^= 1;
    EXPECT_EQ(answer(s), "");
}

TEST_F(ControlLineTest, ModulePut) {
    ask(R"({"command": "module-put", "module": "m", "bytes": "10", "crc": "1a"})");
    EXPECT_EQ(document_["result"]["offset"].GetUint64(), 0u);
    EXPECT_FALSE(document_["result"]["complete"].GetBool());
    EXPECT_EQ(operations_.executed.back(), "module-put:2:m");
    ask(R"({"command": "module-put", "module": "m", "bytes": "10"})");
    EXPECT_STREQ(document_["error"].GetString(), "module-put needs CRC");
}

TEST_F(ControlLineTest, WhatIsNotWaitedForAnyLongerIsRefused) {
    operations_.goes_on = 1000;
    EXPECT_EQ(send(R"({"id": 1, "command": "save", "vm": "linux"})"
                   "\n"
                   R"({"id": 2, "command": "save", "vm": "two"})"
                   "\n"),
              "");
    // An answer is written where there is room.
    line_->give_up("the end");
    EXPECT_EQ(send(""), R"({"id":1,"ok":false,"error":"the end","kind":"failed"})"
                        "\n");
    line_->give_up("the end");
    EXPECT_EQ(send(""), R"({"id":2,"ok":false,"error":"the end","kind":"failed"})"
                        "\n");
    line_->give_up("the end");
    line_->look();
    EXPECT_EQ(send(""), "");
}

TEST_F(ControlLineTest, Devices) {
    EXPECT_EQ(ask(R"({"id": 1, "command": "devices"})"), R"({"id":1,"ok":true,"result":[]})"
                                                         "\n");
    DeviceInfo d;
    d.requester = 0x00fa;
    d.vendor = 0x8086;
    d.device = 0x2922;
    d.class_code = 0x010601;
    d.group = 7;
    d.iommu = "AMD-Vi";
    d.obstacle = PciOutcome::group;
    operations_.devices.push_back(d);
    EXPECT_EQ(ask(R"({"id": 1, "command": "devices"})"),
              R"({"id":1,"ok":true,"result":[{"address":"0000:00:1f.2","vendor":"8086",)"
              R"("device":"2922","class":"010601","kind":"SATA","holder":"","group":7,)"
              R"("reset":"none","iommu":"AMD-Vi","confines":"DMA and interrupts",)"
              R"("usable":false,)"
              R"("reason":"others of its group cannot be given with it"}]})"
              "\n");
}

TEST_F(ControlLineTest, Dominfo) {
    ask(R"({"command": "dominfo", "vm": "two", "id": "a\"\u0000é"})");
    EXPECT_EQ(std::string(document_["id"].GetString(), document_["id"].GetStringLength()),
              std::string("a\"\0\xc3\xa9", 5));
    const auto& vm = document_["result"];
    EXPECT_STREQ(vm["reason"].GetString(), "triple fault");
    EXPECT_FALSE(vm["saved"].GetBool());
    EXPECT_EQ(vm["blackout_ns"].GetUint64(), 0u);
    EXPECT_EQ(vm["rolled_back"].GetUint64(), 0u);
    EXPECT_EQ(vm["saved_bytes"].GetUint64(), 0u);
    EXPECT_EQ(vm["placed_bytes"].GetUint64(), 0u);
    operations_.vms[1].file_bytes = 9 << 20;
    operations_.vms[1].placed_bytes = 3 << 20;
    ask(R"({"command": "dominfo", "vm": "two"})");
    EXPECT_EQ(document_["result"]["file_bytes"].GetUint64(), 9u << 20);
    EXPECT_EQ(document_["result"]["placed_bytes"].GetUint64(), 3u << 20);
}

TEST_F(ControlLineTest, Actions) {
    ask(R"({"id": -3, "command": "vmm-swap", "vm": "linux", "module": "vmm-old"})");
    EXPECT_EQ(document_["id"].GetInt(), -3);
    EXPECT_TRUE(document_["ok"].GetBool());
    EXPECT_EQ(document_["result"]["vm"]["blackout_ns"].GetUint64(), 1'234'567u);
    EXPECT_STREQ(document_["result"]["message"].GetString(),
                 "VMM of VM 'linux' is now 'vmm', blackout 1234 us");
    EXPECT_EQ(ask(R"({"id": 18446744073709551615, "command": "shutdown"})"),
              R"({"id":18446744073709551615,"ok":true,"result":)"
              R"({"message":"The node is being turned off"}})"
              "\n");
    EXPECT_EQ(operations_.executed,
              (std::vector<std::string>{"vmm-swap:0:vmm-old", "shutdown:2:"}));
}

// A timeout is a number for people who write JSON, and text for those who pass words on.
TEST_F(ControlLineTest, Timeouts) {
    for (const char* good :
         {R"("timeout": 5)", R"("timeout": "5")", R"("timeout": 0, "vm": "two")"}) {
        ask(std::string{R"({"command": "shutdown", )"} + good + "}");
        EXPECT_TRUE(document_["ok"].GetBool()) << good;
    }
    for (const char* bad : {R"("timeout": -5)", R"("timeout": 1.5)", R"("timeout": "")",
                            R"("timeout": 86401)", R"("timeout": true)", R"("vm": 5)"}) {
        ask(std::string{R"({"command": "shutdown", )"} + bad + "}");
        EXPECT_FALSE(document_["ok"].GetBool()) << bad;
        EXPECT_STREQ(document_["kind"].GetString(), "usage");
    }
    EXPECT_EQ(operations_.executed.size(), 3u);
}

TEST_F(ControlLineTest, HelpAndModules) {
    ask(R"({"command": "help"})");
    EXPECT_TRUE(document_["id"].IsNull());
    EXPECT_EQ(document_["result"].Size(), commands().size());
    ask(R"({"command": "help", "topic": "vmm-swap"})");
    ASSERT_EQ(document_["result"].Size(), 1u);
    EXPECT_STREQ(document_["result"][0]["arguments"][1].GetString(), "module");
    ask(R"({"command": "modules"})");
    EXPECT_EQ(document_["result"][0]["bytes"].GetUint64(), 400'000u);
    ask(R"({"command": "nodeinfo"})");
    EXPECT_EQ(document_["result"]["memory_free"].GetUint64(), 1000u << 10);
    EXPECT_EQ(document_["result"]["windows"].GetUint64(), 5u);
    EXPECT_EQ(document_["result"]["console_deaths"].GetUint64(), 6u);
    EXPECT_EQ(document_["result"]["pmem_deaths"].GetUint64(), 7u);
    EXPECT_EQ(document_["result"]["pci_deaths"].GetUint64(), 8u);
    ASSERT_EQ(document_["result"]["device_messages"].Size(), 2u);
    EXPECT_EQ(document_["result"]["device_messages"][0].GetUint64(), 0u);
    EXPECT_EQ(document_["result"]["device_messages"][1].GetUint64(), 900u);
}

TEST_F(ControlLineTest, Policies) {
    ask(R"({"command": "policies"})");
    EXPECT_EQ(document_["result"].Size(), 0u);
    ask(R"({"command": "policy-attach", "vm": "linux", "rows": "cpuid,halt count a=1"})");
    EXPECT_TRUE(document_["ok"].GetBool());
    ask(R"({"command": "policy-detach", "vm": "linux", "module": "count"})");
    EXPECT_STREQ(document_["result"]["message"].GetString(),
                 "Policy 'count' is detached from VM 'linux'");
    EXPECT_EQ(operations_.executed,
              (std::vector<std::string>{"policy-attach:0:", "policy-detach:0:count"}));
    const std::string most(max_policy_rows, 'x');
    ask(R"({"command": "policy-attach", "vm": "linux", "rows": ")" + most + "\"}");
    EXPECT_STREQ(document_["kind"].GetString(), "usage");
    // What it writes into its page is shown as it can be.
    PolicyPage page{};
    page.figure[0].name.write("halt");
    page.figure[0].value.store(7);
    page.figure[2].name.write("no\x1b[2Jne");
    page.figure[2].value.store(1);
    page.figure[3].name.write("unused");
    operations_.policies.push_back({"linux", "count", "attached", 1u << 3, "a=1", "", &page});
    operations_.policies.push_back({});
    ask(R"({"command": "policies"})");
    ASSERT_EQ(document_["result"].Size(), 1u);
    const auto& p = document_["result"][0];
    EXPECT_STREQ(p["classes"][0].GetString(), "cpuid");
    EXPECT_EQ(p["figures"]["halt"].GetUint64(), 7u);
    EXPECT_EQ(p["figures"]["no?[2Jne"].GetUint64(), 1u);
    EXPECT_FALSE(p["figures"].HasMember("unused"));
}

TEST_F(ControlLineTest, ADefinitionComesWithoutItsEscapes) {
    ask(R"({"id": 1, "command": "define", "config": "{\"name\": \"x\",\n \"kernel\": \"k\"}"})");
    EXPECT_TRUE(document_["ok"].GetBool());
    EXPECT_EQ(operations_.defined, "{\"name\": \"x\",\n \"kernel\": \"k\"}");
    EXPECT_FALSE(document_["result"].HasMember("vm"));
    const std::string most(max_definition_bytes, 'x');
    ask(R"({"id": 1, "command": "define", "config": ")" + most + "\"}");
    EXPECT_EQ(operations_.defined, most);
    ask(R"({"id": 1, "command": "define", "config": "x)" + most + "\"}");
    EXPECT_STREQ(document_["error"].GetString(), "a definition has at most 8192 bytes");
    ask(R"({"id": 1, "command": "start", "vm": "linux", "config": "x"})");
    EXPECT_STREQ(document_["error"].GetString(), "start takes no JSON");
}

struct Case {
    const char* request;
    const char* id;  // as it stands in the reply
    const char* error;
};

// The test's name, which must not be an address.
void PrintTo(const Case& c, std::ostream* to) { *to << c.error; }  // NOLINT: gtest's name

class ControlLineErrors : public ControlLineTest, public testing::WithParamInterface<Case> {};

TEST_P(ControlLineErrors, AreAnswered) {
    const std::string s = ask(GetParam().request);
    EXPECT_TRUE(s.starts_with(std::string{"{\"id\":"} + GetParam().id + ",\"ok\":false,")) << s;
    EXPECT_NE(std::string{document_["error"].GetString()}.find(GetParam().error), s.npos) << s;
    EXPECT_TRUE(operations_.executed.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ControlLineErrors,
    testing::Values(
        Case{"rubbish", "null", "not JSON, byte 1"}, Case{"{\"id\": 5", "null", "not JSON"},
        Case{R"({"id": 5, "command": "list"} x)", "null", "not JSON"},
        Case{"\"\xff\"", "null", "not JSON"}, Case{"7", "null", "a request is an object"},
        Case{"[]", "null", "a request is an object"},
        Case{"null", "null", "a request is an object"},
        Case{"[{\"id\": 1, \"command\": \"list\"}]", "null", "a request is an object"},
        Case{"{}", "null", "needs a command"}, Case{R"({"id": "x"})", "\"x\"", "needs a command"},
        Case{R"({"command": "lst", "id": "x"})", "\"x\"", "unknown command 'lst'; try help"},
        Case{R"({"command": "help", "topic": "lst", "id": 1})", "1", "unknown command 'lst'"},
        Case{R"({"command": "start", "id": 1})", "1", "start needs VM"},
        Case{R"({"command": "start", "id": 1, "vm": ""})", "1", "an argument is empty"},
        Case{R"({"command": "start", "id": 1, "vm": "x"})", "1", "there is no VM 'x'"},
        Case{R"({"command": "list", "id": 1, "vm": "linux"})", "1", "list takes no VM"},
        Case{R"({"command": "start", "vm": 1, "id": 1})", "1", "a value is not text"},
        Case{R"({"command": "start", "vm": {"id": 3}, "id": 1})", "1", "a value is not text"},
        Case{R"({"command": "start", "vm": ["linux"], "id": 1})", "1", "a value is not text"},
        Case{R"({"command": "list", "id": 1.5})", "null", "whole number"},
        Case{R"({"command": "list", "id": 18446744073709551616})", "null", "too big"},
        Case{R"({"command": "list", "id": 1e5})", "null", "whole number"},
        Case{R"({"command": "list", "id": null})", "null", "id must be text"},
        Case{R"({"command": "list", "id": 1, "id": 2})", "2", "'id' appears twice"},
        Case{R"({"command": "list", "id": 1, "colour": "blue"})", "1", "unknown key 'colour'"},
        Case{R"({"command": "start", "id": 1, "vm": "123456789012345678901234"})", "1",
             "too long"}));

std::string sealed(std::string text) {
    const std::string unsealed = text;
    write_seal([&text](char c) { text += c; }, unsealed);
    return text;
}

class SealedRequests : public ControlLineTest {
  protected:
    // Without the line ends before and behind; empty: there is none.
    std::string ask(const std::string& line) {
        std::string s = send(line + "\n");
        s.erase(0, s.find_first_not_of('\n'));
        if (!s.empty()) s.pop_back();
        return s;
    }
    static std::string start(const char* rest = "") {
        return sealed(std::string{R"({"id": "a-1", "command": "start", "vm": "two")"} + rest + "}");
    }
};

TEST_F(SealedRequests, HaveSealedReplies) {
    std::string reply = ask(start());
    std::string_view text = reply;
    EXPECT_EQ(take_seal(text), Seal::good) << reply;
    EXPECT_TRUE(text.starts_with("{\"id\":\"a-1\",\"ok\":true")) << reply;
    reply = ask(sealed(R"({"id": "a-2", "command": "lst"})"));
    text = reply;
    EXPECT_EQ(take_seal(text), Seal::good) << reply;
    EXPECT_NE(text.find("unknown command"), text.npos);
}

TEST_F(SealedRequests, AreCarriedOutOnce) {
    const std::string first = ask(start());
    EXPECT_EQ(operations_.executed.size(), 1u);
    const std::string again = send(start() + "\n");
    EXPECT_EQ(again, std::string(frame::max_frame, '\n') + first + "\n");
    EXPECT_EQ(ask(start(R"(, "again": true)")), first);
    EXPECT_EQ(operations_.executed.size(), 1u);
    // Without a seal an id may come again.
    (void)ask(R"({"id": "a-1", "command": "start", "vm": "two"})");
    EXPECT_EQ(operations_.executed.size(), 2u);
}

TEST_F(SealedRequests, AreForgottenWhenTheAnswerHasCome) {
    (void)ask(start());
    (void)ask(sealed(R"({"id": "a-3", "command": "list", "got": "x a-1 y"})"));
    (void)ask(start());
    EXPECT_EQ(operations_.executed.size(), 2u);
}

TEST_F(SealedRequests, ThatTheNodeDoesNotKnowAreNotBegunAgain) {
    EXPECT_NE(ask(start(R"(, "again": true)")).find("this request is not known"),
              std::string::npos);
    EXPECT_TRUE(operations_.executed.empty());
    EXPECT_NE(ask(start(R"(, "again": 1)")).find("a value is not text"), std::string::npos);
    EXPECT_NE(ask(start(R"(, "again": "x")")).find("must be true or false"), std::string::npos);
    const std::string names(257, 'x');
    EXPECT_NE(ask(start((R"(, "got": ")" + names + "\"").c_str())).find("longer than 256"),
              std::string::npos);
}

TEST_F(SealedRequests, ThatOnlyShowAreAnsweredAnew) {
    const std::string info = sealed(R"({"id": "a-4", "command": "dominfo", "vm": "two"})");
    EXPECT_NE(ask(info).find(R"("state":"failed")"), std::string::npos);
    operations_.vms[1].phase = VmPhase::running;
    std::string again = send(info + "\n");
    EXPECT_TRUE(again.starts_with(std::string(frame::max_frame, '\n') + "{")) << again;
    EXPECT_NE(again.find(R"("state":"running")"), std::string::npos);
    operations_.vms[1].name = "";  // undefined meanwhile
    again = ask(info);
    EXPECT_NE(again.find("there is no VM 'two'"), std::string::npos) << again;
    // Not even when the node does not know it any more.
    again = ask(sealed(R"({"id": "a-5", "command": "list", "again": true})"));
    EXPECT_NE(again.find(R"("name":"linux")"), std::string::npos) << again;
    EXPECT_TRUE(operations_.executed.empty());
}

TEST_F(SealedRequests, LookingAroundMakesNobodyForget) {
    (void)ask(start());
    for (unsigned n = 0; n < 2 * Answered::capacity; ++n)
        (void)ask(sealed("{\"id\": " + std::to_string(n) + R"(, "command": "list"})"));
    (void)ask(start());
    EXPECT_EQ(operations_.executed.size(), 1u);
}

TEST_F(SealedRequests, EachDamageIsFound) {
    const std::string good = start();
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (const std::string& bad :
             {good.substr(0, at) + good.substr(at + 1), good.substr(0, at + 1) + good.substr(at),
              good.substr(0, at) + '~' + good.substr(at + 1)}) {
            const std::string reply = ask(bad);
            EXPECT_TRUE(reply.empty() || reply.starts_with(R"({"id":null,"ok":false)")) << reply;
        }
    }
    EXPECT_TRUE(operations_.executed.empty());
}

TEST_F(SealedRequests, OldAnswersGiveWay) {
    for (unsigned n = 0; n <= Answered::capacity; ++n)
        (void)ask(
            sealed("{\"id\": " + std::to_string(n) + R"(, "command": "start", "vm": "two"})"));
    const std::size_t before = operations_.executed.size();
    (void)ask(sealed(R"({"id": 1, "command": "start", "vm": "two"})"));
    EXPECT_EQ(operations_.executed.size(), before);
    (void)ask(sealed(R"({"id": 0, "command": "start", "vm": "two"})"));
    EXPECT_EQ(operations_.executed.size(), before + 1);
}

TEST_F(ControlLineTest, LongIds) {
    const std::string id(64, 'i');
    ask(R"({"command": "list", "id": ")" + id + "\"}");
    EXPECT_EQ(document_["id"].GetString(), id);
    ask(R"({"command": "list", "id": "i)" + id + "\"}");
    EXPECT_STREQ(document_["error"].GetString(), "id is longer than 64 bytes");
}

TEST_F(ControlLineTest, LongLines) {
    const std::string rest = R"("id": 1, "command": "list"})";
    EXPECT_NE(
        ask("{" + std::string(max_request_bytes - 1 - rest.size(), ' ') + rest).find("\"ok\":true"),
        std::string::npos);
    EXPECT_EQ(ask("{" + std::string(max_request_bytes - rest.size(), ' ') + rest),
              "{\"id\":null,\"ok\":false,\"error\":\"a request has at most 65536 bytes\",\"kind\":"
              "\"usage\"}\n");
    EXPECT_NE(ask("{" + rest).find("\"ok\":true"), std::string::npos) << "the next one is read";
}

TEST_F(ControlLineTest, EmptyLinesZeroBytesAndDeepNests) {
    EXPECT_EQ(send("\n\r\n\n"), "");
    EXPECT_NE(ask(std::string{"{\"command\": \"list\"}\0", 20}).find("zero byte"),
              std::string::npos);
    EXPECT_NE(ask(std::string(30, '[')).find("not JSON"), std::string::npos);
    EXPECT_NE(ask(std::string(30, '[') + std::string(30, ']')).find("is an object"),
              std::string::npos);
    EXPECT_NE(ask(std::string(60'000, '[')).find("deeper"), std::string::npos);
    EXPECT_NE(ask("{\"id\": \"" + std::string(60'000, 'i') + "\", \"command\": \"list\"}")
                  .find("longer than 64"),
              std::string::npos);
    std::string nest;
    for (int i = 0; i < 170; ++i) nest += "{\"a\":";
    ask(nest + "1" + std::string(170, '}'));
}

TEST_F(ControlLineTest, AnyNameGivesJson) {
    std::mt19937 random{4};
    std::string name(23, 0);
    for (int n = 0; n < 300; ++n) {
        for (char& c : name) c = static_cast<char>(1 + random() % 255);
        operations_.vms[0].name = name.c_str();
        operations_.vms[0].vmm = name.c_str();
        ask(R"({"command": "list"})");
        ask(R"({"command": "suspend", "vm": "1"})");
    }
    operations_.vms[0].name = "\xc3\xa9\xf0\x9f\x90\x88\xc3";
    ask(R"({"command": "dominfo", "vm": "1"})");
    EXPECT_STREQ(document_["result"]["name"].GetString(), "\xc3\xa9\xf0\x9f\x90\x88?");
}

TEST_F(ControlLineTest, TheLongestAnswerIsWhole) {
    const std::string name(23, '"'), vmm(23, '\\');
    VmInfo vm;
    vm.name = name.c_str();
    vm.vmm = vmm.c_str();
    vm.memory_mib = vm.exits = vm.restarts = ~0ull;
    vm.core = ~0u;
    operations_.vms.assign(max_vms, vm);
    ask(R"({"id": ")" + std::string(64, 'i') + R"(", "command": "list"})");
    EXPECT_TRUE(document_["ok"].GetBool());
    operations_.modules.assign(40, {name.c_str(), ~0ull});
    ask(R"({"command": "modules"})");
    EXPECT_TRUE(document_["ok"].GetBool());
    operations_.modules.assign(5000, {name.c_str(), ~0ull});
    ask(R"({"command": "modules"})");
    EXPECT_STREQ(document_["error"].GetString(), "the answer is too long");
}

}  // namespace
}  // namespace margay::init

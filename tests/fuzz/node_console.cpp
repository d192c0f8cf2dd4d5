// The node console, typed on and by requests: any bytes give answers of whole lines, requests one line
// of JSON each.
#include <memory>
#include <string>

#include "servers/init/control/control_line.hpp"
#include "servers/init/control/node_console.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/init/fake_operations.hpp"

#include <rapidjson/document.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace margay;
    using namespace margay::init;
    fuzz::Input input{data, size};
    FakeOperations operations;
    // The first bytes are the name of a VM, which comes from a manifest.
    const auto bytes = input.take_bytes(8);
    std::string name{bytes.begin(), bytes.end()};
    operations.vms[1].name = name.c_str();
    const auto rest = input.take_rest();

    const auto console = std::make_unique<NodeConsole>(operations);
    for (const std::uint8_t c : rest) {
        console->type(static_cast<char>(c));
        const std::string_view said = console->output().pending();
        fuzz::require(said.size() < Output::capacity, "an answer fits");
        while (!console->output().empty()) console->output().pop();
    }

    const auto line = std::make_unique<ControlLine>(operations);
    for (std::size_t i = 0; i <= rest.size(); ++i) {
        line->type(i < rest.size() ? static_cast<char>(rest[i]) : '\n');
        const std::string reply{line->output().pending()};
        while (!line->output().empty()) line->output().pop();
        if (reply.empty() || reply.front() == frame::start) continue;
        fuzz::require(reply.find('\n') == reply.size() - 1, "a reply is one line");
        rapidjson::Document d;
        d.Parse<rapidjson::kParseValidateEncodingFlag>(reply.data(), reply.size());
        fuzz::require(!d.HasParseError() && d.IsObject(), "a reply is an object");
        fuzz::require(d.HasMember("id") && d.HasMember("ok"), "a reply says whether all is well");
        fuzz::require(d.HasMember(d["ok"].GetBool() ? "result" : "error"), "and why");
    }
    return 0;
}

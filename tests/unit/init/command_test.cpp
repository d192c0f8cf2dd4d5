#include "servers/init/control/command.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "servers/init/manifest_keys.hpp"

namespace margay::init {
namespace {

struct Parsed {
    LineResult result;
    Command command;
    std::string error;
};

Parsed parse(const std::string& line) {
    Parsed p;
    ErrorText error;
    p.result = parse_line(line, p.command, error);
    p.error = error.view();
    return p;
}

TEST(Commands, EveryOneIsFoundAndHasHelp) {
    std::set<std::string_view> names;
    for (const CommandSpec& c : commands()) {
        EXPECT_EQ(find_command(c.name), &c);
        EXPECT_TRUE(names.insert(c.name).second);
        EXPECT_GT(c.help.size(), 10u);
        EXPECT_LT(c.help.size(), 70u) << c.name;
    }
    EXPECT_EQ(find_command(""), nullptr);
    EXPECT_EQ(find_command("lis"), nullptr);
    EXPECT_EQ(find_command("list "), nullptr);
}

TEST(Commands, ShutdownOfAVmOrOfTheNode) {
    EXPECT_EQ(parse("shutdown").command[Parameter::timeout], "");
    const Parsed vm = parse("shutdown linux");
    ASSERT_EQ(vm.result, LineResult::command) << vm.error;
    EXPECT_EQ(vm.command[Parameter::vm], "linux");
    for (const char* line : {"shutdown --timeout 90", "shutdown   --timeout 90 "}) {
        const Parsed p = parse(line);
        ASSERT_EQ(p.result, LineResult::command) << p.error;
        EXPECT_EQ(p.command[Parameter::vm], "");
        EXPECT_EQ(p.command[Parameter::timeout], "90");
    }
    EXPECT_EQ(parse("shutdown --now").command[Parameter::timeout], "0");
    // Before the VM or behind it.
    EXPECT_EQ(parse("shutdown linux --now").command[Parameter::timeout], "0");
    EXPECT_EQ(parse("shutdown --now linux").command[Parameter::vm], "linux");
    EXPECT_EQ(parse("shutdown --timeout 86400").result, LineResult::command);
    for (const char* bad :
         {"shutdown --timeout", "shutdown --timeout soon", "shutdown --timeout -1",
          "shutdown --timeout 86401", "shutdown --timeout 99999999999999999999", "shutdown a b",
          "shutdown --timeout 1 a b"})
        EXPECT_EQ(parse(bad).result, LineResult::error) << bad;
    EXPECT_NE(parse("shutdown --timeout x").error.find("a timeout is 0 to 86400 seconds, not 'x'"),
              std::string::npos);
    // Others take no such words.
    EXPECT_EQ(parse("start --now").command[Parameter::vm], "--now");
}

TEST(Commands, SetTakesTheRestOfTheLine) {
    const std::string line = " set linux append  console=ttyS0 quiet ";  // it stays
    const Parsed p = parse(line);
    ASSERT_EQ(p.result, LineResult::command) << p.error;
    EXPECT_EQ(p.command[Parameter::key], "append");
    EXPECT_EQ(p.command[Parameter::value], "console=ttyS0 quiet");
    EXPECT_EQ(parse("set linux append").error, "set needs VALUE");
    EXPECT_EQ(parse("set linux").error, "set needs KEY");
    EXPECT_EQ(parse("set linux append " + std::string(2047, 'x')).result, LineResult::command);
    EXPECT_EQ(parse("set linux append " + std::string(2048, 'x')).result, LineResult::error);
    EXPECT_EQ(parse("autostart linux on").command[Parameter::state], "on");
    EXPECT_EQ(parse("autostart linux").error, "autostart needs on|off");
}

TEST(Commands, LineWithArguments) {
    const Parsed p = parse(" \tvmm-swap   linux \t vmm-old  ");
    ASSERT_EQ(p.result, LineResult::command) << p.error;
    EXPECT_EQ(p.command.action, Action::vmm_swap);
    EXPECT_EQ(p.command[Parameter::vm], "linux");
    EXPECT_EQ(p.command[Parameter::module], "vmm-old");
    EXPECT_EQ(p.command[Parameter::topic], "");
}

TEST(Commands, OptionalArgument) {
    EXPECT_EQ(parse("help").result, LineResult::command);
    const Parsed p = parse("help save");
    ASSERT_EQ(p.result, LineResult::command);
    EXPECT_EQ(p.command[Parameter::topic], "save");
}

TEST(Commands, EmptyLines) {
    EXPECT_EQ(parse("").result, LineResult::empty);
    EXPECT_EQ(parse(" \t ").result, LineResult::empty);
}

TEST(Commands, Errors) {
    EXPECT_EQ(parse("lst").error, "unknown command 'lst'; try help");
    EXPECT_EQ(parse("List").error, "unknown command 'List'; try help");
    EXPECT_EQ(parse("dominfo").error, "dominfo needs VM");
    EXPECT_EQ(parse("vmm-swap linux").error, "vmm-swap needs MODULE");
    EXPECT_EQ(parse("list all").error, "list: 'all' is too much; try help list");
    EXPECT_EQ(parse("suspend a b").error, "suspend: 'b' is too much; try help suspend");
    const std::string name(23, 'n');
    EXPECT_EQ(parse("start " + name).result, LineResult::command);
    EXPECT_EQ(parse("start " + name + "o").error, "'" + name + "o...' is too long for a name");
    // Any key can be named.
    for (const ManifestKey& k : vm_keys)
        EXPECT_EQ(parse("set n " + std::string{k.name} + " 1").result, LineResult::command)
            << k.name;
    EXPECT_EQ(parse("set n " + std::string(max_key, 'k') + " 1").error,
              "'" + std::string(24, 'k') + "...' is too long for a name");
    EXPECT_EQ(parse(std::string(500, 'x')).error,
              "unknown command '" + std::string(24, 'x') + "'; try help");
    for (const char* line : {"lst", "dominfo", "list all"})
        EXPECT_EQ(parse(line).result, LineResult::error);
}

}  // namespace
}  // namespace margay::init

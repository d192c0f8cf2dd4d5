#include "servers/init/control/node_console.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/unit/init/fake_operations.hpp"

namespace margay::init {
namespace {

class NodeConsoleTest : public testing::Test {
  protected:
    // What appears when it is typed, without the echo and the prompt.
    std::string run(const std::string& line) {
        for (char c : line + "\r") console_->type(c);
        std::string s = shown();
        EXPECT_TRUE(s.starts_with(line + "\r\n")) << s;
        EXPECT_TRUE(s.ends_with("margay> ")) << s;
        s = s.substr(line.size() + 2, s.size() - line.size() - 10);
        std::erase(s, '\r');
        return s;
    }
    std::string shown() {
        std::string s{console_->output().pending()};
        while (!console_->output().empty()) console_->output().pop();
        return s;
    }

    FakeOperations operations_;
    std::unique_ptr<NodeConsole> console_ = std::make_unique<NodeConsole>(operations_);
};

TEST_F(NodeConsoleTest, Greeting) {
    console_->begin();
    EXPECT_EQ(shown(), "Margay node console; help lists the commands\r\nmargay> ");
    EXPECT_EQ(run(""), "");
}

TEST_F(NodeConsoleTest, List) {
    const std::string s = run("list");
    EXPECT_EQ(
        s.substr(0, s.find('\n')),
        "Id  Name          State       Core  Memory      Exits       VMM           Restarts  ");
    EXPECT_NE(
        s.find("\n1   linux         running     1     256 MiB     39450       vmm           0  "),
        s.npos)
        << s;
    EXPECT_NE(s.find("\n2   two           failed "), s.npos) << s;
}

TEST_F(NodeConsoleTest, Dominfo) {
    operations_.vms[0].blackout_ns = 1'234'567;
    operations_.vms[0].saved = true;
    operations_.vms[0].saved_bytes = 1025;
    EXPECT_EQ(run("dominfo linux"), "Id:             1\n"
                                    "Name:           linux  \n"
                                    "State:          running\n"
                                    "Core:           1\n"
                                    "Memory:         256 MiB\n"
                                    "Exits:          39450\n"
                                    "VMM:            vmm\n"
                                    "Restarts:       0\n"
                                    "Rolled back:    0\n"
                                    "Last blackout:  1234 us\n"
                                    "Saved state:    2 KiB\n");
    const std::string two = run("dominfo 2");
    EXPECT_NE(two.find("Reason:         triple fault"), two.npos) << two;
    EXPECT_NE(two.find("Last blackout:  -\nSaved state:    -\n"), two.npos) << two;
    operations_.vms[1].file_bytes = 9 << 20;
    operations_.vms[1].placed_bytes = 3 << 20;
    EXPECT_TRUE(
        run("dominfo 2").ends_with("Its start:      3072 of 9216 KiB of its files are in place\n"));
}

TEST_F(NodeConsoleTest, Exits) {
    EXPECT_EQ(run("exits linux"),
              "Class                    Exits         Time (us)     Each (ns)  \n" +
                  std::string(64, '-') +
                  "\n"
                  "startup                  1             5             5000  \n"
                  "cpuid                    23            30            1306  \n"
                  "kernel: interrupt        7             -             -  \n");
    EXPECT_EQ(run("exits two"), "error: VM 'two' is off; its exits are counted while it is on\n");
}

TEST_F(NodeConsoleTest, Actions) {
    EXPECT_EQ(run("suspend linux"), "VM 'linux' suspended\n");
    EXPECT_EQ(run("resume 1"), "VM 'linux' resumed\n");
    EXPECT_EQ(run("vmm-swap linux vmm-old"), "VMM of VM 'linux' is now 'vmm', blackout 1234 us\n");
    EXPECT_EQ(run("console two"), "");
    EXPECT_EQ(run("shutdown two"), "The power button of VM 'two' was pressed\n");
    EXPECT_EQ(run("shutdown"), "The node is being turned off\n");
    EXPECT_EQ(operations_.executed,
              (std::vector<std::string>{"suspend:0:", "resume:0:", "vmm-swap:0:vmm-old",
                                        "console:1:", "shutdown:1:", "shutdown:2:"}));
}

TEST_F(NodeConsoleTest, Policies) {
    EXPECT_EQ(run("policies"), "none\n");
    EXPECT_EQ(run("policy-attach linux cpuid,halt count a=1  b"), "VM 'linux' has the policy\n");
    PolicyPage page{};
    page.figure[1].name.write("halt");
    page.figure[1].value.store(12);
    operations_.policies.push_back({"linux", "count", "attached", 1, "", "so far", &page});
    EXPECT_EQ(run("policies"), "linux: count is attached: so far\n    12 halt\n");
    EXPECT_EQ(run("policy-attach linux"),
              "error: policy-attach needs CLASS,... MODULE [OPTIONS]\n");
}

TEST_F(NodeConsoleTest, EveryActionWithAVmAsksTheSupervisorAndAnswers) {
    for (const CommandSpec& spec : commands()) {
        if (spec.parameters.empty() || spec.parameters[0] != Parameter::vm) continue;
        std::string line = std::string{spec.name} + " linux";
        for (const Parameter p : spec.parameters.subspan(1))
            if (!spec_of(p).optional) line += " word";
        const std::string s = run(line);
        EXPECT_EQ(s.find("error"), s.npos) << s;
        EXPECT_EQ(s.empty(), spec.action == Action::console) << line;
    }
    EXPECT_EQ(operations_.executed.size(), 19u);
}

TEST_F(NodeConsoleTest, Errors) {
    EXPECT_EQ(run("lst"), "error: unknown command 'lst'; try help\n");
    EXPECT_EQ(run("start three"), "error: there is no VM 'three'; try list\n");
    EXPECT_EQ(run("start 0"), "error: there is no VM '0'; try list\n");
    EXPECT_EQ(run("start 3"), "error: there is no VM '3'; try list\n");
    EXPECT_EQ(run("start 99999999999999999999999"),
              "error: there is no VM '99999999999999999999999'; try list\n");
    EXPECT_EQ(run("help lst"), "error: unknown command 'lst'; try help\n");
    EXPECT_TRUE(operations_.executed.empty());
    operations_.refusal = "domain is already running";
    EXPECT_EQ(run("start linux"), "error: domain is already running\n");
}

TEST_F(NodeConsoleTest, ANameWinsOverANumber) {
    operations_.vms[1].name = "1";
    run("suspend 1");
    EXPECT_EQ(operations_.executed, std::vector<std::string>{"suspend:1:"});
}

TEST_F(NodeConsoleTest, Help) {
    const std::string all = run("help");
    for (const CommandSpec& spec : commands())
        EXPECT_NE(all.find("\n  " + std::string{spec.name} + " "),
                  spec.name == "autostart" ? 0 : all.npos);
    EXPECT_EQ(run("help vmm-swap"),
              "  vmm-swap VM MODULE  replace the VM's VMM by that of another module\n");
    EXPECT_NE(all.find("help [COMMAND]"), all.npos);
}

TEST_F(NodeConsoleTest, Modules) {
    const std::string s = run("modules");
    EXPECT_NE(s.find("\nvmm                      391 KiB"), s.npos) << s;
    EXPECT_NE(s.find("\nvmm-old                  1 KiB"), s.npos) << s;
}

TEST_F(NodeConsoleTest, Nodeinfo) {
    const std::string s = run("nodeinfo");
    EXPECT_NE(s.find("Free memory:    1000 KiB"), s.npos) << s;
    EXPECT_NE(s.find("Used memory:    2000 KiB in 30 extents"), s.npos) << s;
    EXPECT_NE(s.find("Slots in use:   40"), s.npos) << s;
    EXPECT_NE(s.find("Console deaths: 6"), s.npos) << s;
    EXPECT_NE(s.find("Pmem deaths:    7"), s.npos) << s;
    EXPECT_NE(s.find("Pci deaths:     8"), s.npos) << s;
    EXPECT_EQ(s.find("Core 0"), s.npos) << "it has taken none";
    EXPECT_NE(s.find("Core 1: 900 messages of devices"), s.npos) << s;
}

TEST_F(NodeConsoleTest, Devices) {
    EXPECT_NE(run("devices").find("No devices are known."), std::string::npos);
    DeviceInfo d;
    d.requester = 0x0310;
    d.vendor = 0x1b36;
    d.device = 0x10;
    d.class_code = 0x010802;
    d.group = 4;
    d.reset = PciReset::function;
    operations_.devices.push_back(d);
    d.iommu = "AMD-Vi";
    d.holder = "linux";
    operations_.devices.push_back(d);
    d.obstacle = PciOutcome::group;
    operations_.devices.push_back(d);
    // What another program says need not be what there is.
    d.obstacle = static_cast<PciOutcome>(200);
    operations_.devices.push_back(d);
    d.obstacle = PciOutcome::ok;
    const BootFirmwareMemory firmware{0x7d000000, 0x800000, 0x0310, 0};
    d.firmware = &firmware;
    operations_.devices.push_back(d);
    d.firmware = nullptr;
    d.may_raise_any = true;
    operations_.devices.push_back(d);
    const std::string s = run("devices");
    for (const char* line :
         {"0000:03:02.0  1b36:0010  NVMe           -             4      FLR    none      there is "
          "no "
          "IOMMU to confine it",
          "linux         4      FLR    AMD-Vi    yes", "DMA only  yes",
          "AMD-Vi    firmware uses memory 7d000000 to 7d7fffff through it",
          "others of its group cannot be given with it", "the pci server says what cannot be"})
        EXPECT_NE(s.find(line), s.npos) << line << "\n" << s;
}

TEST_F(NodeConsoleTest, ANameCannotDisturbTheTerminal) {
    operations_.vms[0].name = "a\x1b[2Jb\r\n";
    const std::string s = run("list") + run("dominfo 1");
    EXPECT_EQ(s.find('\x1b'), s.npos);
}

TEST_F(NodeConsoleTest, Completion) {
    const auto typed = [this](const std::string& keys) {
        for (const char c : keys) console_->type(c);
        return shown();
    };
    EXPECT_EQ(typed("sus\t"), "suspend ");
    EXPECT_EQ(typed("li\t"), "linux ");
    EXPECT_EQ(typed("\x03"), "^C\r\nmargay> ");
    EXPECT_EQ(typed("re\t"), "res") << "as far as all agree";
    EXPECT_EQ(typed("\t"), "\r\nreset  restore  resume  \r\nmargay> res");
    EXPECT_EQ(typed("t\t"), "tore ");
    EXPECT_EQ(typed("\x03zz\t"), "^C\r\nmargay> zz\a");
    EXPECT_EQ(typed("\x03list x\t"), "^C\r\nmargay> list x\a");
    EXPECT_EQ(typed("\x03help dom\t"), "^C\r\nmargay> help dominfo ");
    EXPECT_EQ(typed("\x03vmm-swap linux v\t").substr(0, 30), "^C\r\nmargay> vmm-swap linux vmm");
    EXPECT_EQ(typed("\x03\x0c"), "^C\r\nmargay> \x1b[H\x1b[2Jmargay> ");
}

}  // namespace
}  // namespace margay::init

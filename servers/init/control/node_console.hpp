// The node console as a person sees it: bytes that were typed in, text out.
#pragma once
#include "servers/init/control/line_editor.hpp"
#include "servers/init/control/perform.hpp"

namespace margay::init {

class NodeConsole final : private Completions {
  public:
    explicit NodeConsole(Operations& operations) : operations_{operations} {}

    // Greets and prompts; once, when the node is up.
    void begin();
    void type(char c);
    Output& output() { return output_; }
    // Says how the command went that was typed last, once it is done.
    void look();
    // It waits for that: what is typed meanwhile waits, too.
    bool is_busy() const { return performed_.pending; }

  private:
    static constexpr const char* prompt = "margay> ";

    std::string_view completion(std::string_view before, unsigned n) override;
    void run(std::string_view line);
    void show();
    void list();
    void dominfo(const VmInfo& vm);
    void nodeinfo(const NodeInfo& node);
    void devices();
    void exits(unsigned vm);
    void help(std::string_view topic);
    void modules();
    void policies();
    template <typename... Arguments>
    void say(std::string_view format, const Arguments&... arguments);
    void cell(std::string_view text, unsigned width);
    void cell(std::uint64_t number, unsigned width);
    void rule(unsigned width);

    Operations& operations_;
    Output output_;
    LineEditor editor_{output_, prompt, this};
    Command command_;  // the last one
    Performed performed_;
};

}  // namespace margay::init

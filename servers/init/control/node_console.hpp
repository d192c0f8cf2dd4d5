// The node console as a person sees it: bytes that were typed in, text out.
#pragma once
#include "servers/init/control/line_editor.hpp"
#include "servers/init/control/perform.hpp"

namespace margay::init {

class NodeConsole {
  public:
    explicit NodeConsole(Operations& operations) : operations_{operations} {}

    // Greets and prompts; once, when the node is up.
    void begin();
    void type(char c);
    Output& output() { return output_; }

  private:
    static constexpr const char* prompt = "margay> ";

    void run(std::string_view line);
    void list();
    void dominfo(const VmInfo& vm);
    void help(std::string_view topic);
    void modules();
    template <typename... Arguments>
    void say(std::string_view format, const Arguments&... arguments);
    void cell(std::string_view text, unsigned width);
    void cell(std::uint64_t number, unsigned width);
    void rule(unsigned width);

    Operations& operations_;
    Output output_;
    LineEditor editor_{output_};
    Performed performed_;
};

}  // namespace margay::init

#include "servers/init/policy_spec.hpp"

namespace margay::init {

namespace {

// The class's name in reports, with dashes for blanks.
bool is_named(ExitClass c, std::string_view name) {
    const std::string_view text = to_text(c);
    if (text.size() != name.size()) return false;
    for (std::size_t i = 0; i < text.size(); ++i)
        if (name[i] != (text[i] == ' ' ? '-' : text[i])) return false;
    return true;
}

// 0: there is none of that name.
ExitClasses classes_of(std::string_view name) {
    if (name == "all") return (1u << exit_classes) - 1;
    for (unsigned c = 0; c < exit_classes; ++c)
        if (is_named(static_cast<ExitClass>(c), name)) return 1u << c;
    return 0;
}

// Where the character is first, or the text's length. (There is no memchr here, which find() would call.)
std::size_t first_of(std::string_view text, char wanted) {
    std::size_t n = 0;
    while (n < text.size() && text[n] != wanted) ++n;
    return n;
}

// Taken from the front; empty at the end.
std::string_view take_word(std::string_view& text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    const std::string_view word = text.substr(0, first_of(text, ' '));
    text.remove_prefix(word.size());
    return word;
}

template <std::size_t n>
bool store(char (&to)[n], std::string_view text) {
    if (text.size() >= n) return false;
    for (std::size_t i = 0; i < text.size(); ++i) to[i] = text[i];
    to[text.size()] = 0;
    return true;
}

}  // namespace

Failure parse_policy(std::string_view text, PolicySpec& spec) {
    Failure f;
    spec = PolicySpec{};
    std::string_view list = take_word(text);
    const std::string_view module = take_word(text);
    if (module.empty()) {
        f.set(FailureKind::usage, "say CLASS[,CLASS...] and the policy's MODULE");
        return f;
    }
    if (!store(spec.module, module)) {
        f.set(FailureKind::usage, "the module's name is too long");
        return f;
    }
    if (std::string_view rest = text; take_word(rest) == "with-state") {
        spec.with_state = true;
        text = rest;
    }
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    if (!store(spec.options, text)) {
        f.set(FailureKind::usage, "options have at most {} bytes", max_policy_options - 1);
        return f;
    }
    for (;;) {
        const std::size_t comma = first_of(list, ',');
        const std::string_view name = list.substr(0, comma);
        const ExitClasses found = classes_of(name);
        if (found == 0) {
            f.set(FailureKind::usage, "there is no exit class '{}'", name.substr(0, 32));
            return f;
        }
        spec.classes |= found;
        if (comma == list.size()) return f;
        list.remove_prefix(comma + 1);
    }
}

}  // namespace margay::init

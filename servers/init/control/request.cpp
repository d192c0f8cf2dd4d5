#include "servers/init/control/request.hpp"

#include "servers/init/control/json_arena.hpp"
#include "servers/init/integer_json.hpp"
#include "support/format.hpp"

namespace margay::init {

namespace {

// The reader's stack has the text that is being read, eight bytes per bracket that is open, and grows by half.
using Arena = JsonArena<2 * max_request_bytes + 4096>;

// Takes the values of the one flat object. What is wrong is kept and reading goes on, so that the
// id is found wherever it stands.
class Handler : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Handler> {
  public:
    Handler(Request& request, DefinitionText& definition, ErrorText& error)
        : request_{request}, definition_{definition}, error_{error} {}

    bool is_good() const { return error_.empty(); }
    bool has_command() const { return has_command_; }

    bool Null() { return wrong_value(); }
    bool Bool(bool value) {
        if (depth_ == 1 && key_ == Field::again) {
            request_.is_again = value;
            return true;
        }
        if (!is_argument(Parameter::value)) return wrong_value();
        return take_argument(value ? "true" : "false");
    }
    bool Int(int) { return wrong_value(); }
    bool Uint(unsigned) { return wrong_value(); }
    bool Int64(std::int64_t) { return wrong_value(); }
    bool Uint64(std::uint64_t) { return wrong_value(); }

    bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
        const std::string_view number{text, length};
        if (is_argument(Parameter::timeout) || is_argument(Parameter::value))
            return take_argument(number);
        if (depth_ != 1 || key_ != Field::id) return wrong_value();
        for (char c : number)
            if (c != '-' && (c < '0' || c > '9'))
                return refuse("id must be text or a whole number");
        return set_id(IdKind::number, number);
    }

    bool String(const char* text, rapidjson::SizeType length, bool) {
        const std::string_view value{text, length};
        if (depth_ != 1) return wrong_value();
        switch (key_) {
        case Field::id: return set_id(IdKind::text, value);
        case Field::command:
            has_command_ = true;
            if (is_good()) (void)set_action(request_.command, value, error_);
            return true;
        case Field::argument:
            if (value.empty() && parameter_ != Parameter::value)
                return refuse("an argument is empty");
            return take_argument(value);
        case Field::got:
            if (value.size() > max_got_bytes) return refuse("'got' is longer than 256 bytes");
            request_.got.set(value);
            return true;
        case Field::again: return refuse("'again' must be true or false");
        case Field::unknown: break;
        }
        return true;
    }

    bool StartObject() { return ++depth_ == 1 || (wrong_value() && depth_ <= max_request_depth); }
    bool EndObject(rapidjson::SizeType) { return close(); }
    bool StartArray() {
        (void)wrong_value();
        return ++depth_ <= max_request_depth;
    }
    bool EndArray(rapidjson::SizeType) { return close(); }

    bool Key(const char* text, rapidjson::SizeType length, bool) {
        if (depth_ != 1) return true;
        const int index = index_of({text, length});
        if (index < 0) {
            key_ = Field::unknown;
            if (is_good())
                print(error_, "unknown key '{}'",
                      std::string_view{text, length}.substr(0, max_name));
            return true;
        }
        if (seen_ >> index & 1) {
            if (is_good()) print(error_, "'{}' appears twice", std::string_view{text, length});
        }
        seen_ |= 1u << index;
        return true;
    }

  private:
    enum class Field : std::uint8_t { id, command, argument, got, again, unknown };

    bool is_argument(Parameter p) const {
        return depth_ == 1 && key_ == Field::argument && parameter_ == p;
    }
    bool take_argument(std::string_view value) {
        Command& c = request_.command;
        if (!is_good() || !set_argument(c, parameter_, value, error_)) return true;
        // No command takes two of these: there is room for one.
        std::string_view* const text = parameter_ == Parameter::config  ? &c.config
                                       : parameter_ == Parameter::value ? &c.value
                                       : parameter_ == Parameter::rows  ? &c.rows
                                                                        : nullptr;
        if (text == nullptr) return true;
        definition_.set(value);
        *text = definition_.view();
        return true;
    }
    // Its bit in seen_; sets key_ and parameter_.
    int index_of(std::string_view name) {
        if (name == "id") {
            key_ = Field::id;
            return 0;
        }
        if (name == "command") {
            key_ = Field::command;
            return 1;
        }
        for (unsigned i = 0; i < static_cast<unsigned>(Parameter::count); ++i) {
            if (name != spec_of(static_cast<Parameter>(i)).name) continue;
            key_ = Field::argument;
            parameter_ = static_cast<Parameter>(i);
            return static_cast<int>(2 + i);
        }
        constexpr int behind = 2 + static_cast<int>(Parameter::count);
        if (name == "got") {
            key_ = Field::got;
            return behind;
        }
        if (name == "again") {
            key_ = Field::again;
            return behind + 1;
        }
        return -1;
    }
    bool set_id(IdKind kind, std::string_view value) {
        if (value.size() > max_id_bytes) return refuse("id is longer than 64 bytes");
        request_.id_kind = kind;
        request_.id.set(value);
        return true;
    }
    bool close() {
        --depth_;
        return true;
    }
    bool wrong_value() {
        return refuse(depth_ == 0                        ? "a request is an object: {{ ... }"
                      : depth_ == 1 && key_ == Field::id ? "id must be text or a whole number"
                                                         : "a value is not text");
    }
    bool refuse(const char* why) {
        if (is_good()) print(error_, why);
        return true;
    }

    Request& request_;
    DefinitionText& definition_;
    ErrorText& error_;
    Field key_ = Field::unknown;
    Parameter parameter_ = Parameter::vm;
    unsigned depth_ = 0;
    unsigned seen_ = 0;
    bool has_command_ = false;
};

}  // namespace

bool parse_request(std::string_view text, Request& request, DefinitionText& definition,
                   ErrorText& error) {
    request = Request{};
    error.clear();
    static Arena arena;  // too large for a stack
    arena.clear();
    Handler handler{request, definition, error};
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, Arena> reader{&arena, 1024};
    rapidjson::MemoryStream stream{text.data(), text.size()};
    constexpr unsigned flags = rapidjson::kParseNumbersAsStringsFlag |
                               rapidjson::kParseIterativeFlag |
                               rapidjson::kParseValidateEncodingFlag;
    const rapidjson::ParseResult result = reader.Parse<flags>(stream, handler);
    // The reader takes a zero byte for the end.
    if (result.IsError() || stream.Tell() != text.size()) {
        request = Request{};
        error.clear();
        if (result.Code() == rapidjson::kParseErrorTermination)
            print(error, "a request is an object, and not nested deeper than {} brackets",
                  max_request_depth);
        else if (result.IsError())
            print(error, "not JSON, byte {}: {}", result.Offset() + 1,
                  rapidjson::GetParseError_En(result.Code()));
        else
            print(error, "not JSON: there is a zero byte in the text");
        return false;
    }
    if (!handler.is_good()) return false;
    if (!handler.has_command()) {
        print(error, "a request needs a command");
        return false;
    }
    return check_arguments(request.command, error);
}

}  // namespace margay::init

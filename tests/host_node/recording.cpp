#include "tests/host_node/recording.hpp"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "proto/exit.hpp"

namespace margay::host_node {

namespace {

using Fields = std::vector<std::string>;

std::uint64_t number(const std::string& s) { return std::stoull(s, nullptr, 16); }

// The fields that are said, and those of the line before for the others.
void complete(Fields& fields, const Fields& before) {
    for (std::size_t i = 0; i < before.size(); ++i) {
        if (i == fields.size()) fields.push_back(before[i]);
        if (fields[i] == "-") fields[i] = before[i];
    }
}

template <typename First>
void take_pairs(const Fields& fields, std::vector<std::pair<First, std::uint64_t>>& to) {
    for (std::size_t i = 0; i + 1 < fields.size(); i += 2)
        to.emplace_back(static_cast<First>(number(fields[i])), number(fields[i + 1]));
}

class Reader {
  public:
    void take(char kind, Fields fields) {
        switch (kind) {
        case 'h':
            recording.tsc_khz = number(fields.at(0));
            recording.begin = time_ = number(fields.at(1));
            recording.epoch = number(fields.at(2));
            break;
        case 'c': {
            std::uint32_t n[6];
            for (unsigned i = 0; i < 6; ++i)
                n[i] = static_cast<std::uint32_t>(number(fields.at(i)));
            recording.processor[{n[0], n[1]}] = {n[2], n[3], n[4], n[5]};
            break;
        }
        case 'm': take_pairs(fields, next_.memory); break;
        case 's': take_pairs(fields, next_.state); break;
        case 'd': take_pairs(fields, recording.exits.back().changed); break;
        case 'e': {
            Fields& before = last_exit_[fields.at(0)];
            complete(fields, before);
            before = fields;
            time_ += number(fields.at(2));
            RecordedExit& e = recording.exits.emplace_back(std::exchange(next_, {}));
            e.exit_class = number(fields[0]), e.flags = number(fields.at(1)), e.tsc = time_;
            e.rip = number(fields.at(3)), e.detail0 = number(fields.at(4));
            e.detail1 = number(fields.at(5));
            if (e.exit_class == static_cast<std::uint64_t>(ExitClass::port)) e.detail1 += e.rip;
            e.rax = number(fields.at(6));
            e.rflags = number(fields.at(7));
            break;
        }
        case 'r': {
            complete(fields, last_reply_);
            last_reply_ = fields;
            RecordedExit& e = recording.exits.back();
            e.action = number(fields.at(0)), e.dirty = number(fields.at(1));
            e.result = number(fields.at(2)), e.vector = number(fields.at(3));
            e.deadline = fields.at(4) == "never" ? ~0ull : e.tsc + number(fields[4]);
            break;
        }
        default: throw std::runtime_error{"no such kind"};
        }
    }
    Recording recording;

  private:
    RecordedExit next_{};
    std::uint64_t time_ = 0;
    std::map<std::string, Fields> last_exit_;
    Fields last_reply_;
};

}  // namespace

Recording Recording::read(const std::string& path) {
    std::ifstream file{path};
    if (!file) throw std::runtime_error{path + " cannot be read"};
    Reader reader;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words{line};
        std::string kind;
        words >> kind;
        Fields fields;
        for (std::string word; words >> word;) fields.push_back(word);
        try {
            reader.take(kind.at(0), fields);
        } catch (const std::exception&) {
            throw std::runtime_error{std::string{path}.append(": ").append(line)};
        }
    }
    return reader.recording;
}

}  // namespace margay::host_node

// A program of the node, built as a shared object. Each process that runs it has a copy of its own: code and
// data, so that programs keep their global variables as they are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace margay {
struct Domain;
struct Thread;
}  // namespace margay

namespace margay::host_node {

class HostedProgram {
  public:
    // `path` of the shared object.
    explicit HostedProgram(std::string path);
    ~HostedProgram();
    HostedProgram(const HostedProgram&) = delete;
    HostedProgram& operator=(const HostedProgram&) = delete;

    // As the program's first instruction on a fresh process, or in a further thread of one: for user code.
    void run(std::uint64_t argument);
    // The copy that the thread runs, or null: where a function of the program is there.
    void* find(const Thread& thread, const char* symbol) const;
    std::size_t copies() const { return copies_.size(); }

  private:
    struct Copy;
    Copy& take();
    Copy* copy_of(const Domain& domain);

    std::string path_;
    std::vector<std::unique_ptr<Copy>> copies_;
};

}  // namespace margay::host_node

#include "tests/host_node/kill/single_step.hpp"

#include <csignal>
#include <stdexcept>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace margay::vmm::kill {

unsigned long single_step(const std::function<void()>& body,
                          const std::function<bool(unsigned long)>& look) {
    const auto child = fork();
    if (child < 0) {
        throw std::runtime_error{"fork"};
    }
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        raise(SIGSTOP);
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    for (unsigned long count = 0;;) {
        if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) {
            throw std::runtime_error{"single step"};
        }
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            return count;
        }
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
            ::kill(child, SIGKILL);
            waitpid(child, &status, 0);
            throw std::runtime_error{"the child failed"};
        }
        if (!look(++count)) {
            ::kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return count;
        }
    }
}

}  // namespace margay::vmm::kill

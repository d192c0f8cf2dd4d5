#include "tests/host_node/hosted_program.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/host_node/cores.hpp"
#include "ukernel/object/thread.hpp"

namespace margay::host_node {

namespace {

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "hosted program: %s\n", what);
    std::abort();
}

// The linker loads a file once: each copy needs a file of its own.
void* load_copy(const std::string& path) {
    const int source = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const int copy = memfd_create("hosted program", MFD_CLOEXEC);
    struct stat info {};
    if (source < 0 || copy < 0 || fstat(source, &info) != 0) give_up(path.c_str());
    for (off_t done = 0; done < info.st_size;)
        if (sendfile(copy, source, &done, static_cast<std::size_t>(info.st_size - done)) <= 0)
            give_up(path.c_str());
    close(source);
    const std::string name = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(copy);
    // The file stays open: whoever explains a backtrace reads it.
    void* const handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) give_up(dlerror());
    return handle;
}

struct Range {
    std::byte* begin;
    std::size_t bytes;
};

// What is between objects is poisoned for AddressSanitizer: not by functions that it watches.
void copy_bytes(void* to, const void* from, std::size_t bytes) {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

struct Search {
    std::uintptr_t base;
    std::vector<Range> ranges;
};

// The writable segments, without what the linker has made read-only.
int find_ranges(dl_phdr_info* info, std::size_t, void* result) {
    auto& search = *static_cast<Search*>(result);
    if (info->dlpi_addr != search.base) return 0;
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    std::uintptr_t relro_end = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; ++i)
        if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO)
            relro_end = (search.base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz) &
                        ~(page - 1);
    for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)& segment = info->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
        std::uintptr_t begin = search.base + segment.p_vaddr;
        const std::uintptr_t end = begin + segment.p_memsz;
        if (begin < relro_end && relro_end <= end) begin = relro_end;
        if (begin < end)
            search.ranges.push_back({reinterpret_cast<std::byte*>(begin), end - begin});
    }
    return 1;
}

}  // namespace

struct HostedProgram::Copy {
    void* handle = nullptr;
    void (*main)(std::uint64_t) = nullptr;
    std::vector<Range> data;
    std::vector<std::vector<std::byte>> initial;
    // Who runs it, or ran it last.
    const Thread* thread = nullptr;
    std::uint64_t token = 0;
    static constexpr std::uint64_t nobody = 1;

    explicit Copy(const std::string& path) : handle{load_copy(path)} {
        main = reinterpret_cast<void (*)(std::uint64_t)>(dlsym(handle, "program_main"));
        if (main == nullptr) give_up("it has no program_main");
        link_map* map = nullptr;
        dlinfo(handle, RTLD_DI_LINKMAP, &map);
        Search search{map->l_addr, {}};
        dl_iterate_phdr(find_ranges, &search);
        data = search.ranges;
        for (const Range& r : data) {
            initial.emplace_back(r.bytes);
            copy_bytes(initial.back().data(), r.begin, r.bytes);
        }
    }
    void begin_anew() {
        for (std::size_t i = 0; i < data.size(); ++i)
            copy_bytes(data[i].begin, initial[i].data(), data[i].bytes);
    }
};

HostedProgram::HostedProgram(std::string path) : path_{std::move(path)} {}
HostedProgram::~HostedProgram() = default;

HostedProgram::Copy& HostedProgram::take() {
    for (const auto& copy : copies_)
        if (!Cores::is_alive(copy->thread, copy->token)) {
            copy->begin_anew();
            return *copy;
        }
    return *copies_.emplace_back(std::make_unique<Copy>(path_));
}

HostedProgram::Copy* HostedProgram::copy_of(const Domain& domain) {
    for (const auto& copy : copies_)
        if (Cores::is_alive(copy->thread, copy->token) && copy->thread->domain == &domain)
            return copy.get();
    return nullptr;
}

void HostedProgram::run(std::uint64_t argument) {
    // A further thread of a process has its number in the argument.
    if (argument % page_size != 0)
        if (const Copy* copy = copy_of(*Cores::this_thread().domain)) copy->main(argument);
    // What ran on an earlier machine may have had the same thread and token.
    for (const auto& copy : copies_)
        if (copy->thread == &Cores::this_thread() && copy->token == Cores::this_token())
            copy->token = Copy::nobody;
    Copy& copy = take();
    copy.thread = &Cores::this_thread();
    copy.token = Cores::this_token();
    copy.main(argument);
}

void* HostedProgram::find(const Thread& thread, const char* symbol) const {
    for (const auto& copy : copies_)
        if (copy->thread == &thread && Cores::is_alive(&thread, copy->token))
            return dlsym(copy->handle, symbol);
    return nullptr;
}

}  // namespace margay::host_node

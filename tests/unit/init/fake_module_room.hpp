// Memory for modules on the host: what is written beyond a module is found by the sanitizer.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "servers/init/control/module_store.hpp"

namespace margay::init {

struct FakeModuleRoom : ModuleRoom {
    std::map<unsigned, std::vector<std::byte>> memory;
    std::map<unsigned, std::string> published;
    std::vector<std::string> boot{"vmm"};
    std::string used;  // a module that VM "linux" uses
    std::uint64_t most = 1 << 20;

    Status take(unsigned place, std::uint64_t bytes, std::byte*& at) override {
        if (bytes > most) return Status::no_memory;
        auto& m = memory[place];
        m.resize(bytes);
        at = m.data();
        return Status::ok;
    }
    Status publish(unsigned place, const char* name, std::uint64_t) override {
        published[place] = name;
        return Status::ok;
    }
    void drop(unsigned place) override {
        memory.erase(place);
        published.erase(place);
    }
    bool is_boot_module(std::string_view name) override {
        for (const std::string& b : boot)
            if (b == name) return true;
        return false;
    }
    std::string_view user_of(std::string_view name) override {
        return !used.empty() && name == used ? "linux" : "";
    }
    std::string content(unsigned place) {
        const auto& m = memory[place];
        return {reinterpret_cast<const char*>(m.data()), m.size()};
    }
};

}  // namespace margay::init

// Memory of modules that are put over the control line.
#pragma once
#include "servers/init/control/module_store.hpp"
#include "servers/init/node.hpp"

namespace margay::init {

class NodeModuleRoom : public ModuleRoom {
  public:
    explicit NodeModuleRoom(Node& node) : node_{node} {}

    Status take(unsigned place, std::uint64_t bytes, std::byte*& at) override;
    Status publish(unsigned place, const char* name, std::uint64_t bytes) override;
    void drop(unsigned place) override;
    bool is_boot_module(std::string_view name) override;

  protected:
    ~NodeModuleRoom() = default;

  private:
    struct Shelf {
        Ram ram;
        std::uint64_t at = 0;  // while it is written; 0: not mapped
        const char* name = nullptr;
    };
    Node& node_;
    Shelf shelves_[max_put_modules];
};

}  // namespace margay::init

# What the pci server knows and decides, with its path; host tests use the same list.
set(pci_sources claims.cpp function.cpp lines.cpp reset.cpp topology.cpp virtio.cpp)
list(TRANSFORM pci_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

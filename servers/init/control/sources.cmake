# The sources of the node console's logic, with their paths.
set(control_sources command.cpp control_line.cpp line_editor.cpp module_store.cpp node_console.cpp perform.cpp reply.cpp
    request.cpp)
list(TRANSFORM control_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

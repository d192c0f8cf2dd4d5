# The console's logic and its driver, with their paths; host tests use the same list.
set(console_sources channels.cpp control_port.cpp screen.cpp serial_port.cpp)
list(TRANSFORM console_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

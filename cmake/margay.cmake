# Everything a CMakeLists.txt of this tree uses:
#
#   margay_kernel(NAME n LINKER_SCRIPT f SOURCES … [LIBRARIES …] [NO_LTO_SOURCES …])
#   margay_program(NAME n SOURCES … [LIBRARIES …] [NO_LTO_SOURCES …])      a user-level program
#   margay_library(NAME n SOURCES … [LIBRARIES …] [NO_LTO_SOURCES …] [KERNEL])  for those two
#   margay_together(result name source …)                        sources that are compiled together
#   margay_host_library(NAME n SOURCES … [LIBRARIES …])           for unit tests and fuzz targets
#   margay_unit_test(NAME n SOURCES … [LIBRARIES …] [TIMEOUT s])
#   margay_fuzz_target(NAME n SOURCES … [LIBRARIES …] [RUNS n] [MAX_LENGTH bytes])
#   margay_system_test(NAME n [MODULES …] …)                      see cmake/system_test.cmake
#   margay_bench_run(NAME n MODULES … …)                          same file
#   margay_aml(NAME n SOURCE f.asl)
#
# and the libraries zydis (target code) and zydis_host (unit tests and fuzz targets).

include(flags)
include(target_code)
include(host_code)
include(system_test)
include(aml)
include(zydis)

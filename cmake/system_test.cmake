# Tests and measurements that boot the node in an emulator.
#
# margay_system_test(NAME n …) boots an image in QEMU and adds the test system.n. It passes when the
# node ends by itself with QEMU's status STATUS (default: 33, the node powered off without a failure),
# the console output matches EXPECT and nothing in FORBID.
#
#   KERNEL target        default: ukernel
#   MODULES name=what …  the boot modules in order; `what` is a program target of this build or a
#                        file (relative to this directory); a plain `target` stands for target=target.
#                        Text in place of a file: name=text:CONTENT
#   ARGUMENTS string     the kernel's command line
#   EXPECT regex …       each matches a line of console output, in this order
#   FORBID regex …       none matches any line
#   STATUS n, CORES n, MEMORY mib, TIMEOUT seconds (default: 33, 1, 512, 60)
#   MACHINE bochs        boots it in Bochs; the test is system.bochs_n, and waits ten times as long
#   CPU model            the emulator's processor model (default: EPYC,+svm; ryzen in Bochs)
#   NUMA n               nodes with equal shares of cores and memory (QEMU)
#   UEFI, ICOUNT         start by UEFI; count instructions
#   ON_REQUEST           not part of a run without a pattern: ./margay test runs it when `smoke`, `matrix` or `passthrough` is asked for
#   SCRIPT file.py       drives the node itself: its function test(node), see tests/system/harness.py;
#                        ARGS … are in node.arguments. MODULES and the rest set the defaults.

# Turns `name=target`, `name=file`, `name=text:CONTENT` and `target` into name=FILE or name=text:CONTENT.
function(margay_module_files result)
    set(files "")
    foreach(module IN LISTS ARGN)
        if(module MATCHES "^([^=]+)=(.*)$")
            set(name ${CMAKE_MATCH_1})
            set(what "${CMAKE_MATCH_2}")
        else()
            set(name ${module})
            set(what ${module})
        endif()
        if(NOT what MATCHES "^text:")
            if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${what})
                set(what ${CMAKE_CURRENT_SOURCE_DIR}/${what})
            elseif(NOT IS_ABSOLUTE ${what})
                set(what ${PROJECT_BINARY_DIR}/modules/${what})
            endif()
        endif()
        list(APPEND files "${name}=${what}")
    endforeach()
    set(${result} "${files}" PARENT_SCOPE)
endfunction()

function(margay_system_test)
    cmake_parse_arguments(PARSE_ARGV 0 arg "UEFI;ICOUNT;ON_REQUEST"
        "NAME;KERNEL;ARGUMENTS;STATUS;CORES;MEMORY;TIMEOUT;SCRIPT;CPU;MACHINE;NUMA" "MODULES;EXPECT;FORBID;ARGS")
    if(MARGAY_FUZZ)
        return()
    endif()
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "margay_system_test ${arg_NAME}: what is ${arg_UNPARSED_ARGUMENTS}?")
    endif()
    if(NOT DEFINED arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(arg_MACHINE STREQUAL "bochs")
        string(PREPEND arg_NAME "bochs_")
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 10")
    endif()
    if(NOT DEFINED arg_KERNEL)
        set(arg_KERNEL ukernel)
    endif()
    set(line ${Python3_EXECUTABLE} -B ${PROJECT_SOURCE_DIR}/tests/system/harness.py
        --build ${PROJECT_BINARY_DIR} --kernel ${PROJECT_BINARY_DIR}/modules/${arg_KERNEL}
        --timeout ${arg_TIMEOUT})
    margay_module_files(modules ${arg_MODULES})
    foreach(module IN LISTS modules)
        list(APPEND line --module "${module}")
    endforeach()
    foreach(option IN ITEMS ARGUMENTS STATUS CORES MEMORY CPU MACHINE NUMA)
        if(DEFINED arg_${option})
            string(TOLOWER ${option} lower)
            list(APPEND line --${lower} "${arg_${option}}")
        endif()
    endforeach()
    foreach(pattern IN LISTS arg_EXPECT)
        list(APPEND line --expect "${pattern}")
    endforeach()
    foreach(pattern IN LISTS arg_FORBID)
        list(APPEND line --forbid "${pattern}")
    endforeach()
    foreach(flag IN ITEMS UEFI ICOUNT)
        if(arg_${flag})
            string(TOLOWER ${flag} lower)
            list(APPEND line --${lower})
        endif()
    endforeach()
    if(DEFINED arg_SCRIPT)
        cmake_path(ABSOLUTE_PATH arg_SCRIPT BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        list(APPEND line --script ${arg_SCRIPT})
    endif()
    add_test(NAME system.${arg_NAME} COMMAND ${line} -- ${arg_ARGS})
    # The harness itself keeps the time limit and then shows the output; this is for a stuck harness.
    math(EXPR limit "${arg_TIMEOUT} + 30")
    set_tests_properties(system.${arg_NAME} PROPERTIES TIMEOUT ${limit} LABELS system)
    if(arg_ON_REQUEST)
        set_property(TEST system.${arg_NAME} APPEND PROPERTY LABELS on_request)
    endif()
endfunction()

# margay_bench_run(NAME n MODULES … [KERNEL target] [ARGUMENTS string] [CORES n] [MEMORY mib]
#                  [TIMEOUT s] [PREFIX string] [DRIVE name] [EXTRA option …])
# declares one boot whose console output has lines `bench: KEY VALUE UNIT REPEATS {…}` for
# ./margay bench (tools/bench.py). Options as for margay_system_test; always with counted
# instructions. PREFIX stands before each key of this boot. DRIVE: what happens to it from outside (DRIVES in
# tools/bench_run.py). EXTRA: more options for QEMU.
function(margay_bench_run)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;KERNEL;ARGUMENTS;CORES;MEMORY;TIMEOUT;PREFIX;DRIVE" "MODULES;EXTRA")
    if(MARGAY_FUZZ)
        return()
    endif()
    foreach(default IN ITEMS KERNEL=ukernel ARGUMENTS= CORES=1 MEMORY=512 TIMEOUT=300 PREFIX= DRIVE=)
        string(REGEX MATCH "^([^=]+)=(.*)$" matched ${default})
        if(NOT DEFINED arg_${CMAKE_MATCH_1})
            set(arg_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
        endif()
    endforeach()
    margay_module_files(modules ${arg_MODULES})
    string(REPLACE "\\" "\\\\" modules "${modules}")
    string(REPLACE "\"" "\\\"" modules "${modules}")
    list(TRANSFORM modules PREPEND "\"")
    list(TRANSFORM modules APPEND "\"")
    list(JOIN modules ", " modules)
    list(TRANSFORM arg_EXTRA PREPEND "\"" OUTPUT_VARIABLE extra)
    list(TRANSFORM extra APPEND "\"")
    list(JOIN extra ", " extra)
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/bench/${arg_NAME}.json @ONLY CONTENT
[[{ "kernel": "@PROJECT_BINARY_DIR@/modules/@arg_KERNEL@", "modules": [@modules@],
  "arguments": "@arg_ARGUMENTS@", "cores": @arg_CORES@, "memory": @arg_MEMORY@, "timeout": @arg_TIMEOUT@,
  "prefix": "@arg_PREFIX@", "drive": "@arg_DRIVE@", "extra": [@extra@] }
]])
endfunction()

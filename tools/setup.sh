# Sourced by ./margay: installs the Debian packages that a command needs and that are missing, nothing else.

# To build the node.
build_packages=(binutils cmake g++ ninja-build python3 libboost-dev libzycore-dev rapidjson-dev acpica-tools)
# To make images.
image_packages=(grub-common grub-efi-amd64-bin grub-pc-bin mtools xorriso)
# To run them.
run_packages=(qemu-system-x86)
uefi_packages=(ovmf)
bochs_packages=(bochs bochs-term bochsbios vgabios)
# To test: unit tests, fuzz targets, debuggers.
test_packages=(clang-14 gdb libcapstone-dev libclang-rt-14-dev libgmock-dev libgtest-dev lld-14)
# To check sources.
check_packages=(clang-format-14 clang-tidy-14)

# The packages of a command with its arguments, one a line.
packages_of() {
    local command=$1 argument
    shift
    local packages=("${build_packages[@]}")
    case $command in
        check) ;;
        format) packages=(python3 clang-format-14) ;;
        run | image)
            packages+=("${image_packages[@]}")
            [[ $command == image ]] || packages+=("${run_packages[@]}")
            for argument in "$@"; do
                case $argument in
                    --uefi) packages+=("${uefi_packages[@]}") ;;
                    bochs | --machine=bochs) packages+=("${bochs_packages[@]}") ;;
                    clang | --preset=clang) packages+=(clang-14 lld-14) ;;
                esac
            done
            ;;
        *)
            packages+=("${image_packages[@]}" "${run_packages[@]}" "${uefi_packages[@]}" "${bochs_packages[@]}"
                "${test_packages[@]}")
            case $command in setup | lint) packages+=("${check_packages[@]}") ;; esac
            ;;
    esac
    printf '%s\n' "${packages[@]}"
}

missing_packages() {
    local known package packages
    mapfile -t packages < <(packages_of "$@")
    known=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null) || true
    for package in "${packages[@]}"; do
        grep --quiet --line-regexp --fixed-strings "installed $package" <<<"$known" || echo "$package"
    done
}

# Shows how far the installer is: on a terminal a line that changes, elsewhere one every ten seconds.
show_installer() {
    local installer=$1 log=$2 line said=$SECONDS
    while kill -0 "$installer" 2>/dev/null; do
        line=$(grep -E '^(Get:|Unpacking|Setting up)' "$log" | tail --lines=1 | cut --characters=1-70) || true
        if [[ -t 2 ]]; then
            printf '\rmargay:   %-70s' "$line" >&2
        elif ((SECONDS - said >= 10)); then
            said=$SECONDS
            echo "margay:   installing: ${line:-waiting for apt-get}" >&2
        fi
        sleep 0.5
    done
    if [[ -t 2 ]]; then
        printf '\r%-80s\r' '' >&2
    fi
}

# Whoever ends margay ends the installer, which finishes the package it is at; nothing of ours is left.
end_installer() {
    trap - EXIT INT TERM HUP
    if [[ -n $installer ]]; then
        kill -TERM "$installer" 2>/dev/null || true
        wait "$installer" 2>/dev/null || true
    fi
    rm -f "$log"
    exit "$1"
}

install_missing_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0

    local as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "margay: missing packages, and neither root nor sudo to install them: ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    if ! command -v apt-get >/dev/null; then
        echo "margay: this needs Debian 12; no apt-get here" >&2
        exit 1
    fi

    local log installer=
    log=$(mktemp)
    trap 'end_installer 130' INT
    trap 'end_installer 143' TERM HUP
    echo "margay: installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
    # The lists of a bare machine are empty or old.
    echo "margay:   reading Debian's package lists" >&2
    "${apt[@]}" update </dev/null >"$log" 2>&1 &
    installer=$!
    show_installer "$installer" "$log"
    wait "$installer" || true
    "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null >>"$log" 2>&1 &
    installer=$!
    show_installer "$installer" "$log"
    if ! wait "$installer"; then
        local reason
        reason=$(grep '^E: ' "$log" | head --lines=1) || true
        trap - INT TERM HUP
        echo "margay: could not install the packages: ${reason:-see $log}; the whole log is in $log" >&2
        exit 1
    fi
    trap - INT TERM HUP
    rm -f "$log"
    echo "margay:   installed" >&2
}

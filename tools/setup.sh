# Sourced by ./margay: installs the Debian packages that are missing, and nothing else.

packages=(
    # to build
    binutils clang-14 cmake g++ libclang-rt-14-dev lld-14 ninja-build python3
    libboost-dev libzycore-dev rapidjson-dev acpica-tools
    # to make images
    grub-common grub-efi-amd64-bin grub-pc-bin mtools xorriso
    # to run and to test
    bochs bochs-term bochsbios vgabios
    gdb ovmf qemu-system-x86 libcapstone-dev libgmock-dev libgtest-dev
    # to check
    clang-format-14 clang-tidy-14
)

missing_packages() {
    local known
    known=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null) || true
    local package
    for package in "${packages[@]}"; do
        grep --quiet --line-regexp --fixed-strings "installed $package" <<<"$known" || echo "$package"
    done
}

install_missing_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
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

    local log
    log=$(mktemp)
    echo "margay: installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
    # The lists of a bare machine are empty or old.
    echo "margay:   reading Debian's package lists" >&2
    "${apt[@]}" update </dev/null >"$log" 2>&1 || true
    "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null >>"$log" 2>&1 &
    local installer=$! line
    # Show which package it is at, so that nobody thinks it hangs.
    while kill -0 "$installer" 2>/dev/null; do
        line=$(grep -E '^(Get:|Unpacking|Setting up)' "$log" | tail --lines=1 | cut --characters=1-70) || true
        if [[ -t 2 ]]; then
            printf '\rmargay:   %-70s' "$line" >&2
        fi
        sleep 0.5
    done
    if [[ -t 2 ]]; then
        printf '\r%-80s\r' '' >&2
    fi
    if ! wait "$installer"; then
        tail --lines=20 "$log" >&2
        echo "margay: could not install the packages; the whole log is in $log" >&2
        exit 1
    fi
    rm -f "$log"
    echo "margay:   installed" >&2
}

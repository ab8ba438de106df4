#!/bin/sh
# The first minute of a rented machine: from nothing to a running agent. Rendered by bootstrap.py.
# It is idempotent by refusal: a machine that comes back after it was given up does nothing.
set -u
umask 077
vl_state="@STATE@"
vl_version='@VERSION@'
vl_wheels='@WHEELS@'
vl_vm='@VM@'

say() {
    printf '{"stage":"%s","detail":"%s","at":%s}\n' "$1" "${2:-}" "$(date +%s)" >>"$vl_state/boot-stages.jsonl"
    echo "vaultlayer: $1 ${2:-}"
}

# Whatever ends here must not go on being billed where the machine has power over itself.
finish() {
    status=$1
    say ended "$status"
    if [ -n "${CONTAINER_API_KEY:-}" ] && [ -n "${CONTAINER_ID:-}" ]; then
        vast_url="${VAST_URL:-https://console.vast.ai}"
        fetch -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY" \
            "$vast_url/api/v0/instances/$CONTAINER_ID/" >/dev/null 2>&1
    elif [ -n "${RUNPOD_API_KEY:-}" ] && [ -n "${RUNPOD_POD_ID:-}" ]; then
        fetch -X DELETE -H "Authorization: Bearer $RUNPOD_API_KEY" \
            "${RUNPOD_URL:-https://api.runpod.io}/v2/pods/$RUNPOD_POD_ID" >/dev/null 2>&1
    elif [ "$vl_vm" = 1 ]; then
        (sleep 2; shutdown -h now || poweroff -f) >/dev/null 2>&1 &
    fi
    exit "$status"
}

fetch() {
    if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 3 --connect-timeout 10 "$@"
    else wget -qO- "$1"; fi
}

# The pieces of this script hold a credential that the job need not see.
vl_i=0
while eval "[ -n \"\${VL_B$vl_i-}\" ]"; do unset "VL_B$vl_i"; vl_i=$((vl_i + 1)); done
case "$0" in /tmp/.vl-*) rm -f "$0" ;; esac

mkdir -p "$vl_state" || exit 73
if [ -e "$vl_state/booted" ]; then
    say resurrected "this machine was given up"
    finish 77
fi
: >"$vl_state/booted"
say began

cat >"$vl_state/boot.json" <<'VAULTLAYER_BOOT'
@BOOT@
VAULTLAYER_BOOT

find_python() {
    for name in python3.13 python3.12 python3.11 python3 python; do
        found=$(command -v "$name" 2>/dev/null) || continue
        if "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$found"
            return 0
        fi
    done
    return 1
}

find_uv() {
    command -v uv 2>/dev/null && return 0
    [ -x "$vl_state/uv/uv" ] && echo "$vl_state/uv/uv" && return 0
    fetch https://astral.sh/uv/install.sh |
        env UV_UNMANAGED_INSTALL="$vl_state/uv" sh >/dev/null 2>&1
    [ -x "$vl_state/uv/uv" ] && echo "$vl_state/uv/uv"
}

# An agent of the right version inside the image costs nothing to install.
find_agent() {
    found=$(command -v vaultlayer-agent 2>/dev/null) || return 1
    [ "$("$found" --version 2>/dev/null)" = "vaultlayer-agent $vl_version" ] && echo "$found"
}

# Installs into a place of its own: the job's Python stays as it is.
install_agent() {
    venv="$vl_state/venv"
    wanted="vaultlayer[agent]==$vl_version"
    if [ -n "$vl_wheels" ]; then
        mkdir -p "$vl_state/wheels"
        fetch "$vl_wheels" | tar -xzf - -C "$vl_state/wheels" 2>/dev/null
    fi
    # A wheelhouse wins where there is one: it is what the broker has chosen.
    from=''
    [ -n "$(ls "$vl_state/wheels" 2>/dev/null)" ] && from="--no-index --find-links $vl_state/wheels"
    if uv=$(find_uv) && [ -n "$uv" ]; then
        "$uv" venv --quiet --python '>=3.11' "$venv" &&
            "$uv" pip install --quiet --python "$venv/bin/python" $from "$wanted" && return 0
    fi
    python=$(find_python) || return 1
    rm -rf "$venv"
    "$python" -m venv "$venv" 2>/dev/null || "$python" -m virtualenv -q "$venv" || return 1
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $from "$wanted"
}

if agent=$(find_agent); then
    say agent_found "$agent"
else
    say agent_installing
    if ! install_agent >"$vl_state/install.log" 2>&1; then
        say agent_missing "neither a package index nor a wheelhouse gave vaultlayer $vl_version"
        tail -n 5 "$vl_state/install.log"
        finish 69
    fi
    agent="$vl_state/venv/bin/vaultlayer-agent"
    say agent_installed
fi
"$agent" --boot "$vl_state/boot.json"
finish $?

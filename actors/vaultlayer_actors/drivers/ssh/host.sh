# Keeps our jobs on a machine of the user's own: sent over SSH with every call, and left nowhere.
# Each instance has a directory; one that has a directory is never started again.
set -u
umask 077
root="${HOME:?}/.vaultlayer/hosts"
mkdir -p "$root" || exit 73
[ -r /proc/self/environ ] || { echo "VL1 unfit no /proc: Linux is needed"; exit 69; }

# Whatever is removed below is removed by name.
checked() {
    case "$1" in
        */* | *..*) exit 64 ;;
        vl-?*) ;;
        *) exit 64 ;;
    esac
}

# Everything of an instance carries its name in its environment, whatever group or session it went to.
alive() {
    grep -lszx "VAULTLAYER_INSTANCE=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
}

show() {
    if [ -e "$root/$1/ended" ]; then state="ended"
    elif [ -n "$(alive "$1")" ]; then state="running"
    elif [ ! -e "$root/$1/started" ]; then state="starting"
    else state="dead"
    fi
    echo "VL1 is $1 $state $(cat "$root/$1/units" 2>/dev/null || echo -) $(cat "$root/$1/ended" 2>/dev/null)"
}

list() {
    for dir in "$root"/vl-*; do
        [ -d "$dir" ] && show "${dir##*/}"
    done
    find "$root" -mindepth 2 -maxdepth 2 -name ended -mtime +30 -exec dirname {} \; | xargs -r rm -rf
}

# start NAME UNITS OF_ALL IS_GPU, the boot script on standard input.
start() {
    checked "$1"
    exec 9>"$root/.lock"
    flock -w 20 9 || { echo "VL1 busy another start holds the lock"; exit 75; }
    if [ ! -d "$root/$1" ]; then
        taken=$(list | awk '$4 == "running" || $4 == "starting" { print $5 }' | tr ',' '\n')
        chosen='' count=0 unit=0
        while [ "$unit" -lt "$3" ] && [ "$count" -lt "$2" ]; do
            if ! echo "$taken" | grep -qx "$unit"; then
                chosen="$chosen${chosen:+,}$unit"
                count=$((count + 1))
            fi
            unit=$((unit + 1))
        done
        [ "$count" -eq "$2" ] || { echo "VL1 full $count of $2 free"; exit 75; }
        mkdir "$root/$1" && echo "$chosen" >"$root/$1/units" && cat >"$root/$1/boot.sh" || exit 74
        [ "$4" = 1 ] && export CUDA_VISIBLE_DEVICES="$chosen" CUDA_DEVICE_ORDER=PCI_BUS_ID
        VAULTLAYER_INSTANCE="$1" setsid sh -c \
            ': >"$1/started"; sh "$1/boot.sh"; echo "with $?" >"$1/ended"; rm -f "$1/boot.sh"' \
            sh "$root/$1" >"$root/$1/console.log" 2>&1 </dev/null 9>&- &
        until [ -e "$root/$1/started" ]; do sleep 0.05; done
    fi
    show "$1"
}

# stop NAME: nothing of it is left, and a start that comes late finds its directory taken.
stop() {
    checked "$1"
    mkdir -p "$root/$1"
    round=0
    while pids=$(alive "$1"); [ -n "$pids" ]; do
        [ "$round" -lt 50 ] || { echo "VL1 stuck $(echo $pids)"; exit 75; }
        kill -9 $pids 2>/dev/null
        round=$((round + 1))
        sleep 0.1
    done
    [ -e "$root/$1/ended" ] || echo "by us" >"$root/$1/ended"
    rm -f "$root/$1/boot.sh"
    rm -rf "${HOME:?}/.vaultlayer/$1"
    show "$1"
}

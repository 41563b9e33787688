#!/bin/sh
# Examines this machine as a host of virtual machines: starts guests of its own, called L2, has each examine itself, and
# says how that went. The last line is `guest: nested ok`, or `guest: nested failed: why`; the exit code says the same.
#
# Words of the command line: droste.l2=vmm|qemu is the monitor, or a list of several, with commas, that take turns;
# droste.l2.vcpus and droste.l2.memory (MiB, else what its kernel needs) are each one's; droste.l2.kernel is a kernel of the disk in place of Linux;
# droste.l2.parallel says how many run beside each other, and droste.l2.count how often that is done; droste.l2.reclaim
# is how many MiB of their memory are taken from them each second, to a disk that has nothing on it, until half of it is
# gone. The rest is taken at once when they are idle, having filled a sixth of it, which each then looks at.

. /etc/words

monitors=$(value droste.l2 | tr , ' ')
vcpus=$(value droste.l2.vcpus 1)
kernel=$(value droste.l2.kernel)
memory=$(value droste.l2.memory)
if [ -z "$memory" ] && [ -e "/mnt/${kernel:-kernel}" ]; then
    memory=$([ -n "$kernel" ] && enough "/mnt/$kernel" || enough /mnt/kernel /mnt/initrd)
    memory=${memory#* }
fi
count=$(value droste.l2.count 1)
parallel=$(value droste.l2.parallel 1)
reclaim=$(value droste.l2.reclaim)
# The control group that the L2s are in when their memory is taken.
group=/sys/fs/cgroup/l2

fail() {
    echo "guest: nested failed: $1"
    exit 1
}

# Seconds since the kernel started.
now() {
    cut -d ' ' -f 1 /proc/uptime
}

# Shows the lines of L2 $1, told apart, and fails unless one of them is its good end.
relay() {
    take=${reclaim:+"echo ${memory}M >$group/memory.reclaim 2>/dev/null &"}
    awk -v name="$1" -v end="^${kernel:-guest: self-report}:? (ok|done)\$" -v take="$take" '
        { sub(/\r+$/, ""); print "[L2." name "] " $0 }
        take && /^guest: memory: .* are filled/ { system(take) }
        $0 ~ end { good = 1 }
        END { exit !good }
    '
}

# The monitor whose turn L2 $1 is.
monitor() {
    number=$1
    set -- $monitors
    shift $(((number - 1) % $#))
    echo "$1"
}

# Starts the program $@, where memory is taken from, if it is.
governed() {
    if [ -n "$reclaim" ]; then
        sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
    else
        "$@"
    fi
}

# Makes a swap space of the first disk that is not in use, and takes memory from the L2s from now on.
start_reclaim() {
    mount -t cgroup2 cgroup2 /sys/fs/cgroup && echo +memory >/sys/fs/cgroup/cgroup.subtree_control &&
        mkdir "$group" || fail "there are no control groups for memory"
    for disk in /dev/vd*; do
        grep -q "^$disk " /proc/mounts || break
    done
    mkswap "$disk" >/dev/null && swapon "$disk" || fail "no disk can be swapped to"
    # Read by others first, files do not count as the group's: they would be taken before what has to be swapped.
    cat /mnt/* >/dev/null
    for _ in $(seq $((memory / 2 / reclaim))); do
        sleep 1
        # It fails where less is to be had.
        echo "${reclaim}M" >"$group/memory.reclaim"
    done 2>/dev/null &
}

# Says how many pages went, and came back.
report_reclaim() {
    out=$(sed -n 's/^pswpout //p' /proc/vmstat)
    in=$(sed -n 's/^pswpin //p' /proc/vmstat)
    echo "guest: L2: $out pages swapped out, $in in"
    # To look at what they filled, they must have had most of it brought back; a MiB is 256 pages.
    [ "$in" -ge $((memory / 6 * 128)) ] || fail "too little memory was taken"
}

# Starts L2 $1 and waits for its end.
start() {
    begin=$(now)
    monitor=$(monitor "$1")
    governed l2 -v "$monitor" -c "$vcpus" ${memory:+-m "$memory"} ${kernel:+-k "$kernel"} ${kernel:-droste.self-report} \
        ${reclaim:+droste.pattern=$((memory / 6))} </dev/null 2>&1 | relay "$1"
    status=$?
    seconds=$(awk -v from="$begin" -v to="$(now)" 'BEGIN { printf "%.2f", to - from }')
    if [ "$status" = 0 ]; then
        echo "guest: L2.$1: $monitor, $vcpus vCPUs: ok after $seconds s"
    else
        echo "guest: L2.$1: $monitor, $vcpus vCPUs: failed after $seconds s"
    fi
    return "$status"
}

set -o pipefail
kvm=$(dmesg | sed -n 's/.*kvm \[[0-9]*\]: \(.* mode initialized.*\)/\1/p')
echo "guest: kvm: ${kvm:-not initialized}"
[ -e /dev/kvm ] || fail "there is no /dev/kvm"
free=$(sed -n 's/^MemAvailable: *//p' /proc/meminfo)
echo "guest: L2: $count times $parallel, $free available"
[ -z "$reclaim" ] || start_reclaim

number=0
for _ in $(seq "$count"); do
    jobs=
    for _ in $(seq "$parallel"); do
        number=$((number + 1))
        start "$number" &
        jobs="$jobs $!"
    done
    for job in $jobs; do
        wait "$job" || failed="$failed $job"
    done
    [ -z "$failed" ] || fail "an L2 did not end well"
done
[ -z "$reclaim" ] || report_reclaim
echo "guest: nested ok"

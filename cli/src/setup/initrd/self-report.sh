#!/bin/sh
# Examines the machine from inside and says what it found, a line each: `guest: key: value`.
# The last line is `guest: self-report ok`, or `guest: self-report failed: why`; the exit code says the same.
#
# With the word droste.pattern=MIB on the command line so much memory is filled at the end, left alone for some seconds, so
# that whoever is below can take it away, and looked at.

. /etc/words

reason=
# How long memory is left alone, in seconds.
idle=15

say() {
    echo "guest: $1: $2"
}

fail() {
    reason="${reason:+$reason; }$1"
}

# The CPUs that are online, one number each.
cpus() {
    sed -n 's/^processor[^0-9]*//p' /proc/cpuinfo
}

# How often CPU $1 has taken the timer's interrupt: its column in the table that names each interrupt's device last.
ticks() {
    awk -v cpu="CPU$1" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == cpu) column = i + 1 }
        /arch_timer/ { sum += $column }
        END { print sum + 0 }
    ' /proc/interrupts
}

report_cpus() {
    present=$(cat /sys/devices/system/cpu/present)
    online=$(cat /sys/devices/system/cpu/online)
    say cpus "$(nproc) online ($online)"
    [ "$present" = "$online" ] || fail "CPUs $present are present, $online are online"
}

report_level() {
    level=$(dmesg | sed -n 's/.*CPU: All CPU(s) started at \(EL[0-9]\).*/\1/p')
    say "exception level" "${level:-unknown}"
    [ -n "$level" ] || fail "the kernel did not say at which exception level it started"
}

# A sleep that is tied to one CPU ends by an interrupt on that CPU.
report_timers() {
    for cpu in $(cpus); do
        before=$(ticks "$cpu")
        taskset -c "$cpu" sleep 0.05
        after=$(ticks "$cpu")
        say "timer interrupts on CPU $cpu" "$after"
        [ "$after" -gt "$before" ] || fail "no timer interrupt on CPU $cpu"
    done
}

# Two sums at once on each CPU: a register that a switch loses makes a sum wrong.
report_floating_point() {
    for cpu in $(cpus); do
        for run in 1 2; do
            taskset -c "$cpu" awk 'BEGIN { for (i = 1; i <= 5000; i++) s += 1 / i; printf "%.9f\n", s }' \
                >"/tmp/sum.$cpu.$run" &
        done
    done
    wait
    wrong=$(cat /tmp/sum.* | grep -v -x 9.094508853)
    say "floating point" "${wrong:-ok}"
    [ -z "$wrong" ] || fail "floating point gave $wrong, not 9.094508853"
}

report_disks() {
    for disk in /sys/block/vd*; do
        [ -e "$disk" ] || continue
        name=${disk##*/}
        if dd if="/dev/$name" of=/dev/null bs=512 count=1 2>/dev/null; then
            say disk "$name, $(cat "$disk/size") sectors"
        else
            fail "the disk $name cannot be read"
        fi
    done
}

report_networks() {
    for adapter in /sys/class/net/eth*; do
        [ -e "$adapter" ] || continue
        name=${adapter##*/}
        address=$(switched "$name")
        if [ -n "$address" ]; then
            say network "$name, $address on a switch"
            continue
        fi
        gateway=$(ip route | sed -n "s/^default via \([0-9.]*\) dev $name.*/\1/p")
        if [ -n "$gateway" ] && ping -c 1 -W 5 "$gateway" >/dev/null; then
            say network "$name, $gateway answers"
        else
            fail "the network adapter $name reaches no gateway"
        fi
    done
}

# Devices that the command line promises must be there.
report_promises() {
    word droste.virtio || return
    for device in /sys/block/vd* /sys/class/net/eth*; do
        [ ! -e "$device" ] || return
    done
    fail "devices were promised, none was found"
}

# What was written must be there still.
report_pattern() {
    [ -n "$pattern" ] || return
    pattern fill "$pattern" || fail "no $pattern MiB of memory can be filled"
    say memory "$pattern MiB are filled"
    sleep "$idle"
    wrong=$(pattern check "$pattern")
    say memory "$pattern MiB are ${wrong:-as they were}"
    [ -z "$wrong" ] || fail "memory has changed: $wrong"
}

pattern=$(value droste.pattern)
say kernel "$(uname -r)"
report_cpus
say memory "$(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
report_level
report_timers
report_floating_point
report_disks
report_networks
report_promises
report_pattern
if [ -z "$reason" ]; then
    echo "guest: self-report ok"
else
    echo "guest: self-report failed: $reason"
    exit 1
fi

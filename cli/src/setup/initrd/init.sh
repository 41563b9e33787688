#!/bin/sh
# The guest's first process: sets up what a small system needs, then runs the self-report, or becomes busybox's init.

/bin/busybox --install -s /bin
export PATH=/bin HOME=/root USER=root

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
ip link set lo up
. /etc/words
hostname "$(value droste.name guest)"
# The terminal behind the console, as far as it is known; "resize" asks it anew.
export TERM="$(value droste.term linux)"
size=$(value droste.size)
[ -z "$size" ] || stty -F /dev/console rows "${size%x*}" cols "${size#*x}"

if word droste.virtio; then
    for module in /lib/modules/*.ko; do
        [ ! -e "$module" ] || insmod "$module"
    done
    # The disk with what virtual machines of this machine's own need, if there is one.
    for disk in /dev/vd*; do
        if [ -b "$disk" ] && mount -t vfat -o ro "$disk" /mnt 2>/dev/null; then
            [ -e /mnt/droste-vmm ] && break
            umount /mnt
        fi
    done
    for adapter in /sys/class/net/eth*; do
        [ -e "$adapter" ] || continue
        name=${adapter##*/}
        ip link set "$name" up
        # On a switch the hardware address ends with the one that is meant for whoever is there.
        address=$(switched "$name")
        if [ -n "$address" ]; then
            ip addr add "$address/24" dev "$name"
        else
            udhcpc -i "$name" -s /etc/lease -n -q -t 5 -T 1 >/dev/null 2>&1
        fi
    done
    # Who else is there.
    value droste.hosts | tr ,/ '\n ' >>/etc/hosts
fi

# Waits until the console has sent everything: what is still queued when the machine goes off is lost.
drain() {
    stty -F /dev/console onlcr 2>/dev/null
}

# Guests whose memory is changed under them: droste.stress=ROUNDS[,VMS[,VCPUS]], for `droste judge`.
stress=$(value droste.stress)
if [ -n "$stress" ]; then
    if /mnt/droste-vmm --stress $(echo "$stress" | tr , ' '); then
        echo "guest: stress ok"
    else
        echo "guest: stress failed"
    fi
    drain
    poweroff -f
fi

# Whoever started a machine to have it examined learns the result by how the machine ends: off, or reset.
if word droste.self-report; then
    if /etc/self-report && { [ -z "$(value droste.l2)" ] || /etc/nested-report; }; then
        drain
        poweroff -f
    fi
    drain
    reboot -f
fi

echo
case $(nproc) in
    1) cpus="one CPU" ;;
    *) cpus="$(nproc) CPUs" ;;
esac
echo "Linux $(uname -r) on $cpus. 'poweroff' switches this machine off."
if [ -e /dev/kvm ] && [ -e /mnt/droste-vmm ]; then
    echo "It has KVM: 'l2' starts a virtual machine on it."
fi
exec init

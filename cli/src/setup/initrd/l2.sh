#!/bin/sh
# Starts a virtual machine on this machine's KVM, with its console here: a guest's own guest, called L2.

usage='usage: l2 [-v vmm|qemu] [-c VCPUS] [-m MIB] [-k KERNEL] [WORDS]

  -v   the virtual machine monitor (vmm, else the first that is there)
  -c   vCPUs (1)
  -m   memory in MiB (enough for the kernel; "enough" says how much that is)
  -k   a kernel of the disk that needs no RAM disk, in place of Linux

WORDS are added to its command line. Its own "poweroff" ends it; so do the keys Ctrl-A x, which reach it only if Ctrl-A
is typed twice where the terminal itself belongs to an emulator.'
disk=/mnt

fail() {
    echo "l2: $1" >&2
    exit 1
}

monitor= vcpus=1 memory= kernel=
while getopts v:c:m:k: option; do
    case "$option" in
        v) monitor=$OPTARG ;;
        c) vcpus=$OPTARG ;;
        m) memory=$OPTARG ;;
        k) kernel=$OPTARG ;;
        *)
            echo "$usage" >&2
            exit 1
            ;;
    esac
done
shift $((OPTIND - 1))

[ -e /dev/kvm ] || fail "this machine has no KVM: its kernel did not start at EL2"
[ -e "$disk/kernel" ] || fail "no disk holds a kernel for it; describe this machine with disk = \"droste:vmm\""
if [ -z "$monitor" ]; then
    monitor=vmm
    [ -e "$disk/droste-vmm" ] || monitor=qemu
fi
initrd=
if [ -z "$kernel" ]; then
    kernel=kernel initrd=$disk/initrd
    set -- loglevel=5 cryptomgr.notests panic=5 droste.name=l2 "$@"
fi
kernel=$disk/$kernel
[ -e "$kernel" ] || fail "the disk holds no ${kernel##*/}"
room=$(enough "$kernel" $initrd)
least=${room% *}
: "${memory:=${room#* }}"
[ "$memory" -ge "$least" ] ||
    echo "l2: $memory MiB are little for this kernel: a Linux of its size needs about $least, and is silent with less" >&2

case "$monitor" in
    vmm)
        [ -e "$disk/droste-vmm" ] || fail "the disk holds no droste-vmm"
        exec "$disk/droste-vmm" --vcpus "$vcpus" --memory "$memory" --kernel "$kernel" \
            ${initrd:+--initrd "$initrd"} --cmdline "console=ttyS0 $*"
        ;;
    qemu)
        [ -e "$disk/qemu-system-aarch64" ] || fail "the disk holds no QEMU"
        exec "$disk/ld-linux-aarch64.so.1" --library-path "$disk" "$disk/qemu-system-aarch64" \
            -machine virt,gic-version=3 -accel kvm -cpu host -smp "$vcpus" -m "$memory" \
            -nographic -nic none -no-reboot -kernel "$kernel" ${initrd:+-initrd "$initrd"} \
            -append "console=ttyAMA0 $*"
        ;;
    *) fail "there is no monitor $monitor: it is vmm or qemu" ;;
esac

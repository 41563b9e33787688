#!/bin/sh
# How much memory a virtual machine takes that starts the kernel $1, an arm64 Image, with the RAM disk $2 if it has one, in
# MiB: the least with which a Linux can start, and what is enough. A Linux needs half of what its kernel occupies again, and
# its RAM disk twice, as it came and unpacked, and some more.

image=$(od -A n -t u4 -j 16 -N 4 "$1")
disk=0
[ -z "$2" ] || disk=$(stat -L -c %s "$2")
mib=1048576
least=$(((image + image / 2 + 2 * disk + mib - 1) / mib + 8))
enough=$(((2 * image + 2 * disk + mib - 1) / mib + 48))
[ "$enough" -gt 128 ] || enough=128
echo "$least $(((enough + 63) / 64 * 64))"

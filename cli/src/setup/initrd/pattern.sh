#!/bin/sh
# Fills memory with what says where it lies, and looks later whether it is all there: `pattern fill MIB`, then
# `pattern check MIB`, which says what is wrong and fails if anything is.

file=/tmp/pattern

# So many MiB, in pages whose every word is the page's number.
pages() {
    awk -v pages="$(($1 * 256))" 'BEGIN {
        for (page = 0; page < pages; page++) {
            words = sprintf("%08d", page)
            while (length(words) < 4096) words = words words
            printf "%s", words
        }
    }'
}

case "$1" in
    fill) pages "$2" >"$file" ;;
    check) pages "$2" | cmp "$file" - 2>&1 ;;
esac

# The words of the kernel's command line, for the other scripts. They are read once, by the shell itself: each process less
# is a sooner prompt.

read -r words </proc/cmdline

# Whether the kernel's command line holds the word $1.
word() {
    case " $words " in
        *" $1 "*) return 0 ;;
    esac
    return 1
}

# The value of the last word $1=value on the kernel's command line, else $2.
value() {
    found=$2
    for word in $words; do
        case "$word" in
            "$1="*) found=${word#*=} ;;
        esac
    done
    echo "$found"
}

# The address of the network adapter $1, if it is on a switch.
switched() {
    read -r mac <"/sys/class/net/$1/address"
    case "$mac" in
        52:54:0a:*) printf '%d.%d.%d.%d' $(echo ":${mac#52:54:}" | sed 's/:/ 0x/g') ;;
    esac
}

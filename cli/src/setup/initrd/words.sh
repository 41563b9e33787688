# The words of the kernel's command line, for the other scripts.

# Whether the kernel's command line holds the word $1.
word() {
    case " $(cat /proc/cmdline) " in
        *" $1 "*) return 0 ;;
    esac
    return 1
}

# The value of the last word $1=value on the kernel's command line, else $2.
value() {
    found=$2
    for word in $(cat /proc/cmdline); do
        case "$word" in
            "$1="*) found=${word#*=} ;;
        esac
    done
    echo "$found"
}

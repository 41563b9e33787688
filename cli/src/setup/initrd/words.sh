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

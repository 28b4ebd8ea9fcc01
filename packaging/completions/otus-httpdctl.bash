# Completes the one word that otus-httpdctl takes.
_otus_httpdctl() {
    [ "$COMP_CWORD" != 1 ] || mapfile -t COMPREPLY < <(compgen -W 'start stop restart reload upgrade status test help' -- "$2")
}
complete -F _otus_httpdctl otus-httpdctl

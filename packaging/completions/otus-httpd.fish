# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_otus_httpd_global_optspecs
    string join \n a/address= p/port= r/document-root= user= w/workers= read-timeout= checkalive= c/config= t/test reload-check json T/print-config daemonize pid-file= v/verbose V/version h/help
end

function __fish_otus_httpd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_otus_httpd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_otus_httpd_using_subcommand
    set -l cmd (__fish_otus_httpd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s a -l address -d 'Address to listen on, with a port or without; may be given several times' -r
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s p -l port -d 'Port for addresses that name none; 0 lets the system choose [default: 8080]' -r
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s r -l document-root -l rootdir -d 'Directory to serve' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l user -d 'Account to serve as, once started as root and listening; `root` stays root' -r
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s w -l workers -d 'Number of worker threads, each on a core of its own; auto: one for each usable core [default: auto]' -r
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l read-timeout -d 'Seconds a client has to send a request head [default: 15]' -r
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l checkalive -d 'Seconds between looks of the supervisor after its workers [default: 5]' -r
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s c -l config -d 'Configuration file [default: /etc/otus-httpd.conf, if there is one]' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l pid-file -d 'File for the number of the process that serves, while it does' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s t -l test -d 'Check configuration, document roots, ports and what the kernel grants; report every finding, and exit'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l reload-check -d 'The same for a server that runs: whether a reload would be accepted'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l json -d 'Report as one JSON document, with --test or --reload-check'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s T -l print-config -d 'Print the configuration in force, with the place that each value comes from, and exit'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -l daemonize -d 'Serve in the background: return once it serves, or say why it does not'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s v -l verbose -d 'Tell more on standard error; twice: everything'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s V -l version -d 'Print the version'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -s h -l help -d 'Print help'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -f -a "status" -d 'Show the state of a running server, each second at a terminal'
complete -c otus-httpd -n "__fish_otus_httpd_needs_command" -f -a "self-signed" -d 'Make a certificate that vouches for itself, and its key: for trials of HTTPS'
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand status" -l socket -d 'Socket of the server\'s admin listener [default: from the configuration file]' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand status" -l url -d 'Address of the server\'s admin listener, such as http://127.0.0.1:8081' -r
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand status" -l check -d 'Ask one thing only, for probes of containers and scripts: exit code 0 is yes, 1 is no' -r -f -a "health\t'Whether the heart of every worker beats'
ready\t'Whether it should be sent requests'"
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand status" -s c -l config -d 'Configuration file [default: /etc/otus-httpd.conf, if there is one]' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand status" -l once -d 'Show it once, and end'
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand status" -s h -l help -d 'Print help'
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand self-signed" -l out -d 'Directory for NAME.crt and NAME.key [default: this one]' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand self-signed" -l days -d 'Days that it holds for [default: 90]' -r
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand self-signed" -s c -l config -d 'Configuration file [default: /etc/otus-httpd.conf, if there is one]' -r -F
complete -c otus-httpd -n "__fish_otus_httpd_using_subcommand self-signed" -s h -l help -d 'Print help'

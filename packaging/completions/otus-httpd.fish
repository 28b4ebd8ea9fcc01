complete -c otus-httpd -s a -l address -d 'Address to listen on, with a port or without; may be given several times' -r
complete -c otus-httpd -s p -l port -d 'Port for addresses that name none; 0 lets the system choose [default: 8080]' -r
complete -c otus-httpd -s r -l document-root -l rootdir -d 'Directory to serve' -r -F
complete -c otus-httpd -l user -d 'Account to serve as, once started as root and listening; `root` stays root' -r
complete -c otus-httpd -s w -l workers -d 'Number of worker threads, each on a core of its own; auto: one for each usable core [default: auto]' -r
complete -c otus-httpd -l read-timeout -d 'Seconds a client has to send a request head [default: 15]' -r
complete -c otus-httpd -l checkalive -d 'Seconds between looks of the supervisor after its workers [default: 5]' -r
complete -c otus-httpd -s c -l config -d 'Configuration file [default: /etc/otus-httpd.conf, if there is one]' -r -F
complete -c otus-httpd -s t -l test -d 'Check configuration, document roots, ports and what the kernel grants; report every finding, and exit'
complete -c otus-httpd -l reload-check -d 'The same for a server that runs: whether a reload would be accepted'
complete -c otus-httpd -l json -d 'Report as one JSON document, with --test or --reload-check'
complete -c otus-httpd -s T -l print-config -d 'Print the configuration in force, with the place that each value comes from, and exit'
complete -c otus-httpd -s v -l verbose -d 'Tell more on standard error; twice: everything'
complete -c otus-httpd -s V -l version -d 'Print the version'
complete -c otus-httpd -s h -l help -d 'Print help'

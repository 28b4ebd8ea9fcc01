# HTTPS as the documentation has it, whichever package brought the server; read by `run`.
#
# Order: what the steps share; the sample with the certificate of ssl-cert; renewals; restarts and upgrades under load; keys
# for root alone; sockets of systemd.
#
# Invariant: a step leaves the configuration without HTTPS, as it found it, but for those that the next one goes on with.

examples=/usr/share/doc/otus-httpd/examples
https_conf=/etc/otus-httpd.conf.d/https.conf
https_folder=/etc/otus-httpd/tls

# https_status [OPTIONS...] - status and version of an answer by HTTPS; the certificates here are for trials
https_status() { inside curl -sS -k --max-time 10 -o /dev/null -w '%{http_code} %{http_version}' "$@" https://localhost/; }
serves_https() { same "the answer" "200 2" "$(https_status --http2)" && same "the answer" "200 1.1" "$(https_status --http1.1)"; }
# The one that is shown to who asks for localhost, and the one in a file.
certificate_shown() {
    nsenter -t "$(boot pid)" -n timeout 10 python3 -c '
import hashlib, ssl
print(hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", 443)))).hexdigest())'
}
certificate_in() {
    python3 -c '
import hashlib, ssl, sys
text = open(sys.argv[1]).read()
end = "-----END CERTIFICATE-----"
print(hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)])).hexdigest())' "$lab_root$1"
}
shows() { same "the certificate" "$(certificate_in "$1")" "$(certificate_shown)"; }

# own_pair - a new pair in /root, for nobody but root, and handed over as the hook of certbot and lego does it
own_pair() {
    inside sh -c 'rm -rf /root/pair && mkdir -m 700 /root/pair && otus-httpd self-signed localhost --out /root/pair'
    inside test "$(inside stat -c %a /root/pair/localhost.key)" = 600
    inside /usr/share/otus-httpd/deploy-certificate localhost /root/pair/localhost.crt /root/pair/localhost.key
    same "the key" "root otus-httpd 640" "$(inside stat -c '%U %G %a' $https_folder/localhost.key)"
    inside setpriv --reuid otus-httpd --regid otus-httpd --init-groups head -c 1 $https_folder/localhost.key
    same "the folder" "root otus-httpd 750" "$(inside stat -c '%U %G %a' $https_folder)"
}

# use_pair CERTIFICATE KEY
use_pair() {
    printf '%s\n' 'listen = ["80", "443 tls"]' '[tls]' "certificate = \"$1\"" "key = \"$2\"" | write $https_conf
    inside otus-httpd --reload-check
}

end_https() {
    rm -rf "$lab_root$https_conf" "$lab_root$https_folder" "$lab_root/root/pair" "$lab_root/etc/systemd/system/otus-httpd.socket.d"
    rmdir "$lab_root/etc/otus-httpd" 2>/dev/null || true
}

https_sample() {
    local pid
    pid=$(main_pid)
    same "the key of ssl-cert" "root ssl-cert 640" "$(inside stat -c '%U %G %a' /etc/ssl/private/ssl-cert-snakeoil.key)"
    inside cp $examples/https.conf $https_conf
    inside otus-httpd --reload-check
    inside systemctl reload otus-httpd
    soon 5 serves_https
    same "main process" "$pid" "$(main_pid)"
    shows /etc/ssl/certs/ssl-cert-snakeoil.pem
    same "by IPv6 it answers" 200 "$(inside curl -sS -k -o /dev/null -w '%{http_code}' 'https://[::1]/')"
    serving
    # Not by what was open before: a process that never was anybody else can read it.
    inside systemctl restart otus-httpd
    serves_https
    hasnt "journal" 'PRIVATE KEY' "$(inside journalctl -u otus-httpd.service -o cat --no-pager)"
}

# The next step goes on with this pair.
https_own_pair() {
    own_pair
    use_pair $https_folder/localhost.crt $https_folder/localhost.key
    inside systemctl reload otus-httpd
    soon 5 serves_https
    https_renewal
}

https_renewal() {
    local pid before
    if ! grep -qs $https_folder "$lab_root$https_conf"; then
        own_pair
        use_pair $https_folder/localhost.crt $https_folder/localhost.key
        inside systemctl reload otus-httpd
        soon 5 shows $https_folder/localhost.crt
    fi
    pid=$(main_pid)
    before=$(certificate_in $https_folder/localhost.crt)
    own_pair
    refuses same "the renewed certificate" "$before" "$(certificate_in $https_folder/localhost.crt)"
    # Nobody tells the server, which looks every few seconds.
    soon 15 shows $https_folder/localhost.crt
    same "main process" "$pid" "$(main_pid)"
    serves_https
}

https_upgrade() {
    local pid
    pid=$(main_pid)
    start_load '' https
    inside systemctl restart otus-httpd
    another_main_pid "$pid"
    pid=$(main_pid)
    sleep 0.3
    inside otus-httpdctl upgrade
    another_main_pid "$pid"
    sleep 0.5
    end_load 50
    soon 5 alone "$(main_pid)"
    serves_https
    end_https
    inside systemctl reload otus-httpd
    serving
}

https_credential() {
    own_pair
    inside rm -r $https_folder
    sed 's|/etc/letsencrypt/live/example.org/fullchain.pem|/root/pair/localhost.crt|; s|/etc/letsencrypt/live/example.org/privkey.pem|/root/pair/localhost.key|' \
        "$lab_root$examples/credentials.conf" | drop_in credentials
    printf '%s\n' 'listen = ["80", "443 tls"]' '[tls]' 'certificate = "credential:site.crt"' 'key = "credential:site.key"' | write $https_conf
    inside systemctl restart otus-httpd
    serves_https
    shows /root/pair/localhost.crt
    refuses inside setpriv --reuid otus-httpd --regid otus-httpd --init-groups cat /root/pair/localhost.key
    # A renewal asks for a restart, which loses nothing.
    own_pair
    start_load '' https
    inside systemctl restart otus-httpd
    sleep 0.5
    end_load 50
    shows /root/pair/localhost.crt
    inside otus-httpdctl upgrade
    serves_https
    remove_drop_in credentials
    end_https
    inside systemctl restart otus-httpd
    serving
}

https_sockets() {
    inside systemctl stop otus-httpd
    inside cp $examples/https.conf $https_conf
    drop_in no-capability <"$lab_root$examples/socket-activation.conf"
    mkdir -p "$lab_root/etc/systemd/system/otus-httpd.socket.d"
    inside cp $examples/socket-https.conf /etc/systemd/system/otus-httpd.socket.d/
    inside systemctl daemon-reload
    inside systemctl start otus-httpd.socket
    # The handshake of the first client waits for the server to be started.
    serves_https
    shows /etc/ssl/certs/ssl-cert-snakeoil.pem
    has "effective capabilities" '^CapEff:[[:space:]]+0+$' "$(inside cat "/proc/$(main_pid)/status")"
    inside systemctl stop otus-httpd.socket otus-httpd.service
    remove_drop_in no-capability
    end_https
    inside systemctl daemon-reload
    inside systemctl start otus-httpd
    serving
}

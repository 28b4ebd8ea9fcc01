/* The limit: an epoll loop that sends the same bytes for whatever it is asked.
 *
 *     loop PORT FILE
 *
 * It reads, counts the requests in what it read, and sends FILE once for each of them, all in one
 * send. It looks at nothing but the ends of requests and their version (HTTP/1.0 is closed after
 * its answer). No server with this shape of system calls can be cheaper.
 *
 * Invariant: a read ends where a request ends; the load of this bench writes whole requests, and
 * a connection that does otherwise is closed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWERS_AT_ONCE = 256, ANSWER_BYTES_MAX = 4096, READ_BYTES = 16384, EVENTS = 512, BACKLOG = 4096 };

static char answers[ANSWERS_AT_ONCE * ANSWER_BYTES_MAX];
static size_t answer_bytes;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int listening_socket(int port) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Accepted sockets inherit it. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG)) die("listen");
    return fd;
}

/* Gives whether the connection goes on. */
static int answer(int fd) {
    static char request[READ_BYTES];
    ssize_t count = recv(fd, request, sizeof request, MSG_DONTWAIT);
    size_t requests = 0;
    if (count < 4 || memcmp(request + count - 4, "\r\n\r\n", 4)) return 0;
    for (char *at = request; at < request + count; requests++)
        at = (char *)memmem(at, request + count - at, "\r\n\r\n", 4) + 4;
    if (requests > ANSWERS_AT_ONCE) return 0;
    if (send(fd, answers, requests * answer_bytes, MSG_NOSIGNAL) != (ssize_t)(requests * answer_bytes)) return 0;
    return !memmem(request, count, " HTTP/1.0\r\n", 11);
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: loop PORT FILE\n");
        return 2;
    }
    FILE *file = fopen(argv[2], "rb");
    if (!file) die(argv[2]);
    answer_bytes = fread(answers, 1, ANSWER_BYTES_MAX, file);
    for (size_t copy = 1; copy < ANSWERS_AT_ONCE; copy++) memcpy(answers + copy * answer_bytes, answers, answer_bytes);

    int listener = listening_socket(atoi(argv[1])), poller = epoll_create1(0);
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!answer(fd)) close(fd);
                continue;
            }
            interest.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (interest.data.fd >= 0) epoll_ctl(poller, EPOLL_CTL_ADD, interest.data.fd, &interest);
        }
    }
}

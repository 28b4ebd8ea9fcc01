/* A load that costs as little as it can: content is dropped in the kernel (MSG_TRUNC) and never
 * copied out. wrk reads 8 KiB at a time, and for large content measures itself.
 *
 *     drain -p PORT -c CONNECTIONS -l LIST [-s SECONDS] [-b BATCH] [-f DIRECTORY]
 *
 * LIST has lines of `PATH LENGTH`. With SECONDS they are asked for in turn, over and over, until
 * the time is up or SIGTERM comes; without, each once. With -b BATCH the first path alone is asked
 * for, BATCH requests a write, and answers are counted by their bytes. With -f the page cache is
 * told to forget DIRECTORY/PATH before it is asked for.
 *
 * Stages: connect and ask on all; per event one recv, which ends a head, some content, or an
 * answer; after an answer ask again. Prints one line of JSON, latencies in microseconds.
 *
 * Invariant: every answer is 200 with the length in the list, or the program says what came
 * instead and ends with 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES_MAX = 4096, EVENTS = 256, DROP_BYTES_MAX = 1 << 22, REQUEST_BYTES_MAX = 1024 };
static const char REQUEST[] = "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n";

struct document {
    char *path;
    long long length;
};

struct peer {
    int fd;
    struct document *document;
    long long begin_ns;
    /* Bytes still to come: of the content, or of the whole batch. -1 while the head is read. */
    long long left;
    size_t head_bytes;
    char head[HEAD_BYTES_MAX];
};

static struct document *documents;
static size_t documents_count, next_document;
static int port, connections = 1, batch = 1;
static double seconds_max;
static const char *forget_below;
static char *batch_bytes;
static size_t batch_request_bytes;
static long long batch_answer_bytes;
static volatile sig_atomic_t stopped;

static long long answers, content_bytes;
static unsigned *latencies_us;
static size_t latencies_count, latencies_room;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void closed(const struct peer *peer) {
    fprintf(stderr, "%s: the server closed early: %m\n", peer->document->path);
    exit(1);
}

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void read_list(const char *name) {
    char path[REQUEST_BYTES_MAX / 2];
    long long length;
    FILE *file = fopen(name, "r");
    if (!file) die(name);
    while (fscanf(file, "%511s %lld", path, &length) == 2) {
        documents = realloc(documents, (documents_count + 1) * sizeof *documents);
        documents[documents_count++] = (struct document){strdup(path), length};
    }
    fclose(file);
}

static int connected(void) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void forget(const char *path) {
    char name[4096];
    snprintf(name, sizeof name, "%s%s", forget_below, path);
    int fd = open(name, O_RDONLY);
    if (fd < 0) die(name);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static void write_all(int fd, const char *bytes, size_t count) {
    if (send(fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count) die("send: an idle socket takes a request");
}

/* Gives whether there was something left to ask for. */
static int ask(struct peer *peer) {
    char request[REQUEST_BYTES_MAX];
    if (next_document == documents_count) {
        if (!seconds_max) return 0;
        next_document = 0;
    }
    peer->document = &documents[batch > 1 ? 0 : next_document++];
    if (forget_below) forget(peer->document->path);
    peer->head_bytes = 0;
    peer->left = batch > 1 ? batch_answer_bytes : -1;
    peer->begin_ns = now_ns();
    if (batch > 1)
        write_all(peer->fd, batch_bytes, batch_request_bytes);
    else
        write_all(peer->fd, request, snprintf(request, sizeof request, REQUEST, peer->document->path));
    return 1;
}

/* Reads on in a head; what is left of the content is known after it. */
static void read_head(struct peer *peer) {
    ssize_t count = recv(peer->fd, peer->head + peer->head_bytes, HEAD_BYTES_MAX - 1 - peer->head_bytes, 0);
    if (count <= 0) closed(peer);
    peer->head_bytes += count;
    peer->head[peer->head_bytes] = 0;
    char *end = memmem(peer->head, peer->head_bytes, "\r\n\r\n", 4);
    if (!end && peer->head_bytes < HEAD_BYTES_MAX - 1) return;
    char *field = end ? strcasestr(peer->head, "\r\nContent-Length:") : NULL;
    long long length = field && field < end ? atoll(field + strlen("\r\nContent-Length:")) : -1;
    if (strncmp(peer->head, "HTTP/1.1 200 ", 13) || length != peer->document->length) {
        fprintf(stderr, "%s: expected 200 with %lld bytes, not %.300s\n", peer->document->path,
                peer->document->length, peer->head);
        exit(1);
    }
    long long content = peer->head_bytes - (end + 4 - peer->head);
    content_bytes += content;
    peer->left = length - content;
}

static void drop(struct peer *peer) {
    /* Nothing is written to it; its length says how much may be dropped at once. */
    static char dropped[DROP_BYTES_MAX];
    size_t most = peer->left < DROP_BYTES_MAX ? peer->left : DROP_BYTES_MAX;
    ssize_t count = recv(peer->fd, dropped, most, MSG_TRUNC);
    if (count <= 0) closed(peer);
    peer->left -= count;
    if (batch == 1) content_bytes += count;
}

static void answered(struct peer *peer) {
    if (latencies_count == latencies_room) {
        latencies_room = latencies_room ? 2 * latencies_room : 4096;
        latencies_us = realloc(latencies_us, latencies_room * sizeof *latencies_us);
    }
    latencies_us[latencies_count++] = (now_ns() - peer->begin_ns) / 1000;
    answers += batch;
    if (batch > 1) content_bytes += batch * peer->document->length;
}

static void prepare_batch(void) {
    struct peer first = {.fd = connected(), .document = &documents[0], .left = -1};
    char request[REQUEST_BYTES_MAX];
    size_t request_bytes = snprintf(request, sizeof request, REQUEST, first.document->path);
    write_all(first.fd, request, request_bytes);
    while (first.left < 0) read_head(&first);
    char *end = memmem(first.head, first.head_bytes, "\r\n\r\n", 4);
    batch_answer_bytes = batch * (end + 4 - first.head + first.document->length);
    batch_request_bytes = batch * request_bytes;
    batch_bytes = malloc(batch_request_bytes);
    for (int copy = 0; copy < batch; copy++) memcpy(batch_bytes + copy * request_bytes, request, request_bytes);
    content_bytes = 0;
    close(first.fd);
}

static int by_value(const void *left, const void *right) {
    unsigned a = *(const unsigned *)left, b = *(const unsigned *)right;
    return a < b ? -1 : a > b;
}

static unsigned percentile(double share) {
    size_t at = share * latencies_count;
    return latencies_count ? latencies_us[at < latencies_count ? at : latencies_count - 1] : 0;
}

static void parse(int argc, char **argv) {
    const char *list = NULL;
    for (int option; (option = getopt(argc, argv, "p:c:l:s:b:f:")) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'c': connections = atoi(optarg); break;
        case 'l': list = optarg; break;
        case 's': seconds_max = atof(optarg); break;
        case 'b': batch = atoi(optarg); break;
        case 'f': forget_below = optarg; break;
        default: exit(2);
        }
    if (list) read_list(list);
    if (!documents_count || !port) {
        fprintf(stderr, "usage: drain -p PORT -c CONNECTIONS -l LIST [-s SECONDS] [-b BATCH] [-f DIRECTORY]\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (batch > 1) prepare_batch();

    int poller = epoll_create1(0), active = 0;
    struct peer *peers = calloc(connections, sizeof *peers);
    for (int i = 0; i < connections; i++) peers[i].fd = connected();
    long long begin_ns = now_ns(), end_ns = begin_ns;
    for (int i = 0; i < connections; i++) {
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = &peers[i]};
        if (!ask(&peers[i])) continue;
        epoll_ctl(poller, EPOLL_CTL_ADD, peers[i].fd, &interest);
        active++;
    }
    while (active && !stopped) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, 100);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer->left < 0)
                read_head(peer);
            else
                drop(peer);
            if (peer->left) continue;
            answered(peer);
            if (ask(peer)) continue;
            close(peer->fd);
            active--;
        }
        end_ns = now_ns();
        if (seconds_max && end_ns - begin_ns >= seconds_max * 1e9) break;
    }
    qsort(latencies_us, latencies_count, sizeof *latencies_us, by_value);
    printf("{\"requests\":%lld,\"bytes\":%lld,\"seconds\":%.6f,\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u}\n", answers,
           content_bytes, (end_ns - begin_ns) / 1e9, percentile(.5), percentile(.99), percentile(.999));
    return 0;
}

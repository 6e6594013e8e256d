/* A device on POSIX sockets. It finds the gateway by a broadcast, reports, answers beats, obeys commands, takes and offers
 * files, and reconnects. README.md shows how to build it. The gateway needs `terminator = "\n"`. */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "pulsegate.h"
#include "sha256.h"

#define BUFFER_BYTES 65536u    /* the longest command and the longest object */
#define SOCKET_TIMEOUT_S 10    /* of connect and send: an object that goes out in part ends the connection */
#define ANSWER_TIMEOUT_MS 1000 /* of a probe */
#define PIECE_TIMEOUT_MS 5000u /* after which the device asks for a piece again */
#define PIECE_RETRIES_MAX 12u  /* after which it gives the file up until the next offer */
#define OFFER_REPEAT_MS 30000u /* the service for files may start after the device */
#define TICK_MS 500            /* the longest time that anything due may be late */
#define PATH_BYTES 512u

struct device {
    const char *id, *directory, *probe;
    uint16_t udp_port, tcp_port;
    uint32_t interval; /* between two reports, in milliseconds */
    int tcp;
    uint32_t heard, reported, asked, offered; /* times of the last byte, report, request for a piece, and offer */
    uint32_t retries;
    struct pg_incoming incoming;
    struct pg_outgoing outgoing;
    int part, source; /* the file that comes, and the file that goes */
    int complete;     /* the file that comes was complete before its offer */
    char command[BUFFER_BYTES], object[BUFFER_BYTES];
};

static uint32_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

static void pause_ms(uint32_t milliseconds) {
    struct timespec time = {(time_t)(milliseconds / 1000u), (long)(milliseconds % 1000u) * 1000000L};
    nanosleep(&time, NULL);
}

static void set_timeout(int fd, int option) {
    struct timeval limit = {SOCKET_TIMEOUT_S, 0};
    setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit);
}

/* ---- Files ---- */

static void path_of(const struct device *device, const char *name, const char *suffix, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%s/%s%s", device->directory, name, suffix);
}

/* Hashes a file from its first byte. Returns 0 on success. */
static int hash_file(int fd, char hex[65]) {
    static unsigned char block[16384];
    struct sha256 hash;
    off_t offset = 0;
    ssize_t got;
    sha256_init(&hash);
    while ((got = pread(fd, block, sizeof block, offset)) > 0) {
        sha256_add(&hash, block, (size_t)got);
        offset += got;
    }
    sha256_end(&hash, hex);
    return got == 0 ? 0 : -1;
}

/* Returns 1 where the directory has this file: the gateway offers it again when the `done` of the device was lost. */
static int is_complete(const struct device *device, const struct pg_file *file) {
    char path[PATH_BYTES], hex[65];
    path_of(device, file->name, "", path);
    const int fd = open(path, O_RDONLY);
    const int same = fd >= 0 && hash_file(fd, hex) == 0 && strcmp(hex, file->sha256) == 0;
    if (fd >= 0) close(fd);
    return same;
}

/* Decides on an offer. A partial file of an earlier connection is continued: its hash is checked at the end. */
static const char *begin_file(void *context, const struct pg_file *file, uint64_t *stored) {
    struct device *device = context;
    struct stat status;
    char path[PATH_BYTES];
    path_of(device, file->name, ".part", path);
    if (device->part >= 0) close(device->part);
    device->part = -1;
    device->complete = is_complete(device, file);
    *stored = file->size;
    if (device->complete) return NULL;
    const int flags = O_RDWR | O_CREAT | (file->sha256[0] == '\0' ? O_TRUNC : 0);
    if ((device->part = open(path, flags, 0600)) < 0 || fstat(device->part, &status) != 0) return "full";
    *stored = (uint64_t)status.st_size;
    if (*stored > file->size) *stored = 0;
    return ftruncate(device->part, (off_t)*stored) == 0 ? NULL : "full";
}

static int write_file(void *context, uint64_t offset, const void *data, size_t length) {
    const struct device *device = context;
    const char *bytes = data;
    for (ssize_t written; length > 0; bytes += written, length -= (size_t)written, offset += (uint64_t)written)
        if ((written = pwrite(device->part, bytes, length, (off_t)offset)) <= 0) return -1;
    return 0;
}

/* Checks the hash, and gives the file its name once its bytes are on the disk. */
static const char *finish_file(void *context, const struct pg_file *file) {
    struct device *device = context;
    char part[PATH_BYTES], path[PATH_BYTES], hex[65];
    if (device->complete) return NULL;
    path_of(device, file->name, ".part", part);
    path_of(device, file->name, "", path);
    if (file->sha256[0] != '\0' && (hash_file(device->part, hex) != 0 || strcmp(hex, file->sha256) != 0)) {
        unlink(part);
        return "sha256";
    }
    if (fsync(device->part) != 0 || rename(part, path) != 0) return "full";
    const int folder = open(device->directory, O_RDONLY);
    const int synced = folder >= 0 && fsync(folder) == 0;
    if (folder >= 0) close(folder);
    return synced ? NULL : "full";
}

static size_t read_file(void *context, uint64_t offset, void *data, size_t length) {
    const struct device *device = context;
    const ssize_t got = pread(device->source, data, length, (off_t)offset);
    return got > 0 ? (size_t)got : 0;
}

/* Opens a file of the directory to offer it. Returns 0 on success. */
static int open_source(struct device *device, const char *name) {
    struct stat status;
    struct pg_file *file = &device->outgoing.file;
    char path[PATH_BYTES];
    if (!pg_is_file_name(name)) return -1;
    path_of(device, name, "", path);
    const int source = open(path, O_RDONLY);
    if (source < 0) return -1;
    if (device->source >= 0) close(device->source);
    device->source = source;
    strcpy(file->name, name);
    device->outgoing.state = PG_IDLE;
    if (hash_file(source, file->sha256) != 0 || fstat(source, &status) != 0) return -1;
    file->size = (uint64_t)status.st_size;
    device->outgoing.state = PG_RUNNING;
    return 0;
}

/* ---- The connection ---- */

/* Sends the first `length` bytes of the object. Returns 0 where the connection is broken. */
static int send_object(struct device *device, const char *object, size_t length) {
    for (ssize_t sent; length > 0; object += sent, length -= (size_t)sent)
        if ((sent = send(device->tcp, object, length, MSG_NOSIGNAL)) <= 0) return 0;
    return 1;
}

static int report(struct device *device, const char *state) {
    struct pg_writer writer;
    pg_begin(&writer, device->object, BUFFER_BYTES, "Status");
    pg_text(&writer, "Id", device->id);
    pg_text(&writer, "State", state);
    pg_integer(&writer, "UptimeSeconds", (int64_t)(now_ms() / 1000u));
    device->reported = now_ms();
    return send_object(device, device->object, pg_end(&writer));
}

static int offer(struct device *device) {
    device->offered = now_ms();
    return send_object(device, device->object, pg_offer(&device->outgoing, device->object, BUFFER_BYTES));
}

static void say(const char *word, const char *name) {
    printf("%s: %s\n", word, name);
    fflush(stdout);
}

/* Handles a command that is an object of files in pieces. */
static int obey_file(struct device *device, const char *text, size_t length) {
    struct pg_incoming *in = &device->incoming;
    struct pg_outgoing *out = &device->outgoing;
    size_t answer = pg_incoming_handle(in, text, length, device->object, BUFFER_BYTES);
    if (answer > 0) {
        device->asked = now_ms();
        device->retries = 0;
        if (in->state == PG_DONE) say("received", in->file.name);
        if (in->state == PG_FAILED) say(in->reason, in->file.name);
    } else {
        const enum pg_state before = out->state;
        answer = pg_outgoing_handle(out, text, length, device->object, BUFFER_BYTES);
        device->offered = now_ms();
        if (out->state == PG_DONE && before != PG_DONE) say("sent", out->file.name);
        if (out->state == PG_FAILED && before != PG_FAILED) say(out->reason, out->file.name);
    }
    return send_object(device, device->object, answer);
}

/* Handles a command. Returns 0 where the connection ends. */
static int obey(struct device *device, const char *text, size_t length) {
    char op[16], name[PG_NAME_MAX + 1];
    if (pg_file_op(text, length, op, name)) return obey_file(device, text, length);
    printf("command: %.*s\n", (int)length, text);
    fflush(stdout);
    if (length == 6 && memcmp(text, "status", 6) == 0) return report(device, "ready");
    if (length == 6 && memcmp(text, "reboot", 6) == 0) return 0;
    if (length > 6 && length - 6 < sizeof name && memcmp(text, "offer ", 6) == 0) {
        memcpy(name, text + 6, length - 6);
        name[length - 6] = '\0';
        return open_source(device, name) == 0 ? offer(device) : report(device, "no such file");
    }
    return report(device, "unknown command");
}

/* Handles received bytes. Returns 0 where the connection ends. */
static int receive(struct device *device, struct pg_reader *reader, const char *input, size_t left) {
    const char *text;
    size_t length;
    for (;;) {
        switch (pg_next(reader, &input, &left, &text, &length)) {
        case PG_NONE: return 1;
        case PG_BEAT:
            if (!send_object(device, PG_BEAT_ANSWER, sizeof PG_BEAT_ANSWER - 1)) return 0;
            break;
        case PG_COMMAND:
            if (!obey(device, text, length)) return 0;
            break;
        case PG_OVERLONG:
            if (!report(device, "a command was too long")) return 0;
            break;
        case PG_TEXT: break; /* without a terminator only */
        }
    }
}

/* Does what is due without a byte from the gateway. Returns 0 where the connection ends. */
static int act_on_time(struct device *device) {
    const uint32_t now = now_ms();
    struct pg_incoming *incoming = &device->incoming;
    if (pg_is_gone(device->heard, now)) return 0;
    if (now - device->reported >= device->interval && !report(device, "ready")) return 0;
    if (device->outgoing.state == PG_RUNNING && now - device->offered >= OFFER_REPEAT_MS && !offer(device)) return 0;
    if (incoming->state == PG_RUNNING && now - device->asked >= PIECE_TIMEOUT_MS) {
        device->asked = now;
        if (device->retries++ >= PIECE_RETRIES_MAX) incoming->state = PG_IDLE;
        return send_object(device, device->object, pg_incoming_retry(incoming, device->object, BUFFER_BYTES));
    }
    return 1;
}

/* Serves one connection until it ends. */
static void talk(struct device *device) {
    static char input[16384];
    struct pg_reader reader;
    pg_reader_init(&reader, "\n", 1, device->command, BUFFER_BYTES);
    device->heard = now_ms();
    int alive = report(device, "ready");
    if (alive && device->outgoing.state == PG_RUNNING) alive = offer(device);
    while (alive) {
        struct pollfd wait = {device->tcp, POLLIN, 0};
        if (poll(&wait, 1, TICK_MS) > 0) {
            const ssize_t got = recv(device->tcp, input, sizeof input, 0);
            if (got <= 0) return;
            device->heard = now_ms();
            alive = receive(device, &reader, input, (size_t)got);
        }
        alive = alive && act_on_time(device);
    }
}

/* Returns 1 with the address of a gateway that answers the probe. */
static int find(const struct device *device, struct sockaddr_in *gateway) {
    struct sockaddr_in to;
    char answer[64];
    const int yes = 1, udp = socket(AF_INET, SOCK_DGRAM, 0);
    int found = 0;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons(device->udp_port);
    if (udp < 0) return 0;
    inet_pton(AF_INET, device->probe, &to.sin_addr);
    setsockopt(udp, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    sendto(udp, PG_PROBE, sizeof PG_PROBE - 1, 0, (const struct sockaddr *)&to, sizeof to);
    struct pollfd wait = {udp, POLLIN, 0};
    for (int left = 16; !found && left > 0 && poll(&wait, 1, ANSWER_TIMEOUT_MS) > 0; left--) { /* others may send, too */
        socklen_t size = sizeof *gateway;
        const ssize_t got = recvfrom(udp, answer, sizeof answer, 0, (struct sockaddr *)gateway, &size);
        found = got > 0 && pg_is_answer(answer, (size_t)got);
    }
    close(udp);
    gateway->sin_port = htons(device->tcp_port);
    return found;
}

static void run(struct device *device, uint32_t seed) {
    struct pg_backoff backoff;
    pg_backoff_init(&backoff, seed);
    for (;;) {
        struct sockaddr_in gateway;
        const uint32_t begun = now_ms();
        if (find(device, &gateway) && (device->tcp = socket(AF_INET, SOCK_STREAM, 0)) >= 0) {
            set_timeout(device->tcp, SO_SNDTIMEO); /* Linux bounds connect by it, too */
            if (connect(device->tcp, (const struct sockaddr *)&gateway, sizeof gateway) == 0) talk(device);
            close(device->tcp);
        }
        pg_backoff_reset(&backoff, now_ms() - begun);
        pause_ms(pg_backoff_next(&backoff));
    }
}

static int usage(void) {
    fputs("usage: posix [-i ID] [-d DIRECTORY] [-o FILE] [-a PROBE-ADDRESS] [-u UDP-PORT] [-t TCP-PORT] [-s SECONDS]\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    static struct device device; /* the buffers are too large for a small stack */
    const char *file = NULL;
    struct in_addr address;
    device.id = "posix-1";
    device.directory = ".";
    device.probe = "255.255.255.255";
    device.udp_port = PG_UDP_PORT;
    device.tcp_port = PG_TCP_PORT;
    device.interval = 5000;
    device.part = device.source = -1;
    device.incoming.context = device.outgoing.context = &device;
    device.incoming.piece = pg_piece_max(BUFFER_BYTES);
    device.incoming.begin = begin_file;
    device.incoming.write = write_file;
    device.incoming.finish = finish_file;
    device.outgoing.read = read_file;
    for (int option; (option = getopt(argc, argv, "i:d:o:a:u:t:s:")) != -1;) {
        switch (option) {
        case 'i': device.id = optarg; break;
        case 'd': device.directory = optarg; break;
        case 'o': file = optarg; break; /* a file of the directory */
        case 'a': device.probe = optarg; break;
        case 'u': device.udp_port = (uint16_t)atoi(optarg); break;
        case 't': device.tcp_port = (uint16_t)atoi(optarg); break;
        case 's': device.interval = (uint32_t)atoi(optarg) * 1000u; break;
        default: return usage();
        }
    }
    if (optind < argc || device.interval == 0 || inet_pton(AF_INET, device.probe, &address) != 1) return usage();
    if (file != NULL && open_source(&device, file) != 0) {
        fprintf(stderr, "posix: cannot offer '%s' of '%s'\n", file, device.directory);
        return 1;
    }
    run(&device, (uint32_t)time(NULL) ^ (uint32_t)getpid());
    return 0;
}

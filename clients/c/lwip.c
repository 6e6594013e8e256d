/* A device on lwIP's sockets, for ESP-IDF, FreeRTOS and others. It finds the gateway by a broadcast, reports, answers
 * beats, obeys commands, takes its firmware in pieces, and reconnects. It allocates nothing. The gateway needs
 * `terminator = "\n"`. board.h declares the functions that the firmware brings. */
#include "lwip/sockets.h"
#include "lwip/sys.h"

#include "board.h"
#include "pulsegate.h"

/* Configuration in the style of ESP-IDF's Kconfig. */
#ifndef CONFIG_PULSEGATE_PROBE
#define CONFIG_PULSEGATE_PROBE "255.255.255.255"
#endif
#ifndef CONFIG_PULSEGATE_UDP_PORT
#define CONFIG_PULSEGATE_UDP_PORT PG_UDP_PORT
#endif
#ifndef CONFIG_PULSEGATE_TCP_PORT
#define CONFIG_PULSEGATE_TCP_PORT PG_TCP_PORT
#endif

#define BUFFER_BYTES 4096u     /* the longest command: a piece has 2,688 bytes */
#define REPORT_MS 5000u        /* between two reports */
#define PIECE_TIMEOUT_MS 5000u /* after which the device asks for a piece again */
#define PIECE_RETRIES_MAX 12u  /* after which it gives the file up until the next offer */
#define STACK_BYTES 4096
#define PRIORITY 5

static char command[BUFFER_BYTES], object[BUFFER_BYTES];
static struct pg_incoming incoming;
static struct pg_file firmware; /* the image that the flash has in part */
static uint64_t written;        /* bytes of it */
static uint32_t heard, reported, asked; /* times of the last byte, report and request for a piece */
static uint32_t retries;
static int tcp = -1;

/* ---- Firmware ---- */

/* Decides on an offer. The image of an earlier connection is continued where it was. */
static const char *begin_firmware(void *context, const struct pg_file *file, uint64_t *stored) {
    (void)context;
    if (strcmp(file->name, "firmware.bin") != 0) return "name";
    if (file->size > board_firmware_max()) return "quota";
    if (file->sha256[0] == '\0') return "sha256"; /* an image without a hash may be any mix of bytes */
    if (file->size != firmware.size || strcmp(file->sha256, firmware.sha256) != 0) {
        written = 0;
        firmware = *file;
        if (board_firmware_begin() != 0) return "full";
    }
    *stored = written;
    return NULL;
}

static int write_firmware(void *context, uint64_t offset, const void *data, size_t length) {
    (void)context;
    if (offset != written || board_firmware_write(data, length) != 0) return -1;
    written += length;
    return 0;
}

static const char *finish_firmware(void *context, const struct pg_file *file) {
    (void)context;
    firmware.size = 0; /* the next offer begins a new image */
    firmware.sha256[0] = '\0';
    return board_firmware_end(file->sha256) == 0 ? NULL : "sha256";
}

/* ---- The connection ---- */

static int send_bytes(const char *bytes, size_t length) {
    while (length > 0) {
        const ssize_t sent = lwip_send(tcp, bytes, length, 0);
        if (sent <= 0) return 0; /* an object that goes out in part ends the connection */
        bytes += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static int report(const char *state) {
    struct pg_writer writer;
    pg_begin(&writer, object, sizeof object, "Status");
    pg_text(&writer, "Id", board_id());
    pg_text(&writer, "State", state);
    pg_integer(&writer, "UptimeSeconds", (int64_t)(sys_now() / 1000u));
    reported = sys_now();
    return send_bytes(object, pg_end(&writer));
}

/* Handles a command. Returns 0 where the connection ends. */
static int obey(const char *text, size_t length) {
    char op[16], name[PG_NAME_MAX + 1];
    if (pg_file_op(text, length, op, name)) {
        const size_t answer = pg_incoming_handle(&incoming, text, length, object, sizeof object);
        if (answer > 0) {
            asked = sys_now();
            retries = 0;
        }
        return send_bytes(object, answer);
    }
    if (length == 6 && memcmp(text, "status", 6) == 0) return report("ready");
    if (length == 6 && memcmp(text, "reboot", 6) == 0) board_restart();
    return report("unknown command");
}

/* Handles received bytes. Returns 0 where the connection ends. */
static int receive(struct pg_reader *reader, const char *input, size_t left) {
    const char *text;
    size_t length;
    enum pg_event event;
    int alive = 1;
    while (alive && (event = pg_next(reader, &input, &left, &text, &length)) != PG_NONE) {
        if (event == PG_BEAT) alive = send_bytes(PG_BEAT_ANSWER, sizeof PG_BEAT_ANSWER - 1);
        if (event == PG_COMMAND) alive = obey(text, length);
        if (event == PG_OVERLONG) alive = report("a command was too long");
    }
    return alive;
}

/* Serves one connection until it ends. lwip_recv returns at least once a second. */
static void talk(void) {
    static char input[1460]; /* one segment */
    struct pg_reader reader;
    pg_reader_init(&reader, "\n", 1, command, sizeof command);
    heard = sys_now();
    int alive = report("ready");
    while (alive && !pg_is_gone(heard, sys_now())) {
        const ssize_t got = lwip_recv(tcp, input, sizeof input, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) return;
        if (got > 0) {
            heard = sys_now();
            alive = receive(&reader, input, (size_t)got);
        }
        if (alive && sys_now() - reported >= REPORT_MS) alive = report("ready");
        if (alive && incoming.state == PG_RUNNING && sys_now() - asked >= PIECE_TIMEOUT_MS) {
            asked = sys_now();
            if (retries++ >= PIECE_RETRIES_MAX) incoming.state = PG_IDLE;
            alive = send_bytes(object, pg_incoming_retry(&incoming, object, sizeof object));
        }
    }
}

static void set_timeout(int socket, int option, int seconds) {
    struct timeval limit;
    limit.tv_sec = seconds;
    limit.tv_usec = 0;
    lwip_setsockopt(socket, SOL_SOCKET, option, &limit, sizeof limit);
}

/* Returns 1 with the address of a gateway that answers the probe. */
static int find(struct sockaddr_in *gateway) {
    char answer[32];
    socklen_t size = sizeof *gateway;
    const int yes = 1, udp = lwip_socket(AF_INET, SOCK_DGRAM, 0);
    if (udp < 0) return 0;
    memset(gateway, 0, sizeof *gateway); /* lwIP's sockaddr_in has a length, which 0 leaves to lwIP */
    gateway->sin_family = AF_INET;
    gateway->sin_port = lwip_htons(CONFIG_PULSEGATE_UDP_PORT);
    gateway->sin_addr.s_addr = ipaddr_addr(CONFIG_PULSEGATE_PROBE);
    lwip_setsockopt(udp, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    set_timeout(udp, SO_RCVTIMEO, 1);
    lwip_sendto(udp, PG_PROBE, sizeof PG_PROBE - 1, 0, (const struct sockaddr *)gateway, size);
    const ssize_t got = lwip_recvfrom(udp, answer, sizeof answer, 0, (struct sockaddr *)gateway, &size);
    lwip_close(udp);
    gateway->sin_port = lwip_htons(CONFIG_PULSEGATE_TCP_PORT);
    return got > 0 && pg_is_answer(answer, (size_t)got);
}

static void device_thread(void *unused) {
    struct pg_backoff backoff;
    struct sockaddr_in gateway;
    (void)unused;
    incoming.piece = pg_piece_max(sizeof command);
    incoming.begin = begin_firmware;
    incoming.write = write_firmware;
    incoming.finish = finish_firmware;
    pg_backoff_init(&backoff, board_random());
    for (;;) {
        const uint32_t begun = sys_now();
        if (find(&gateway) && (tcp = lwip_socket(AF_INET, SOCK_STREAM, 0)) >= 0) {
            set_timeout(tcp, SO_SNDTIMEO, 10);
            set_timeout(tcp, SO_RCVTIMEO, 1);
            if (lwip_connect(tcp, (const struct sockaddr *)&gateway, sizeof gateway) == 0) talk();
            lwip_close(tcp);
        }
        pg_backoff_reset(&backoff, sys_now() - begun);
        sys_msleep(pg_backoff_next(&backoff));
    }
}

/* The firmware calls it once, when its network is up. */
void pulsegate_start(void) { sys_thread_new("pulsegate", device_thread, NULL, STACK_BYTES, PRIORITY); }

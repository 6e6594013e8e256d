/* Runs the functions of clients/c/pulsegate.h: one question a line, one answer a line, bytes in hexadecimal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pulsegate.h"

#define MOST 70000

static char line[400000], bytes[4][MOST], stored[MOST];
static struct pg_outgoing outgoing;
static struct pg_incoming incoming;

static size_t unhex(const char *hex, char *to) {
    size_t length = 0;
    unsigned byte;
    while (hex[2 * length] != '\0' && sscanf(hex + 2 * length, "%2x", &byte) == 1) to[length++] = (char)byte;
    return length;
}

static void show(const char *mark, const char *data, size_t length) {
    fputs(mark, stdout);
    for (size_t at = 0; at < length; at++) printf("%02x", (unsigned)(unsigned char)data[at]);
    putchar(' ');
}

/* Questions with each piece in a heap block of its size, so that a sanitizer sees a read behind its end. */
static void read_pieces(const char *terminator, size_t capacity, char *pieces) {
    struct pg_reader reader;
    const char *text;
    size_t length;
    char *buffer = (char *)malloc(capacity > 0 ? capacity : 1);
    pg_reader_init(&reader, bytes[0], unhex(terminator, bytes[0]), buffer, capacity);
    for (char *piece = strtok(pieces, ","); piece != NULL; piece = strtok(NULL, ",")) {
        const size_t count = strcmp(piece, "-") == 0 ? 0 : unhex(piece, bytes[1]);
        char *block = (char *)malloc(count > 0 ? count : 1);
        const char *input = block;
        size_t left = count;
        memcpy(block, bytes[1], count);
        for (enum pg_event event; (event = pg_next(&reader, &input, &left, &text, &length)) != PG_NONE;) {
            if (event == PG_BEAT) fputs("B ", stdout);
            if (event == PG_COMMAND) show("C", text, length);
            if (event == PG_TEXT) show("T", text, length);
            if (event == PG_OVERLONG) fputs("O ", stdout);
        }
        free(block);
    }
    length = pg_flush(&reader, &text);
    if (length > 0) show("T", text, length);
    free(buffer);
}

static void write_object(const char *text, size_t length, int64_t number, size_t capacity) {
    struct pg_writer writer;
    char *buffer = (char *)malloc(capacity > 0 ? capacity : 1);
    pg_begin(&writer, buffer, capacity, "Status");
    pg_text_n(&writer, "Text", text, length);
    pg_integer(&writer, "Number", number);
    pg_decimal(&writer, "Decimal", number, 3);
    pg_bool(&writer, "Yes", 1);
    pg_base64(&writer, "Data", text, length);
    pg_open(&writer, "List", '[');
    pg_integer(&writer, NULL, 1);
    pg_open(&writer, NULL, '{');
    pg_close(&writer);
    pg_text(&writer, NULL, "two");
    pg_close(&writer);
    pg_bool(&writer, "No", 0);
    show("", buffer, pg_end(&writer));
    free(buffer);
}

static char content(uint64_t at) { return (char)((at * 7 + at / 251) & 0xFF); }

static size_t read_file(void *context, uint64_t offset, void *data, size_t length) {
    (void)context;
    for (size_t at = 0; at < length; at++) ((char *)data)[at] = content(offset + at);
    return length;
}

static const char *begin_file(void *context, const struct pg_file *file, uint64_t *already) {
    *already = *(const uint64_t *)context;
    return file->size > sizeof stored ? "quota" : NULL;
}

static int write_file(void *context, uint64_t offset, const void *data, size_t length) {
    if (offset + length > incoming.file.size) abort(); /* bytes behind the file's end */
    *(uint64_t *)context = offset + length;
    memcpy(stored + offset, data, length);
    return 0;
}

static const char *finish_file(void *context, const struct pg_file *file) {
    (void)context;
    for (uint64_t at = 0; at < file->size; at++)
        if (stored[at] != content(at)) return "sha256";
    return NULL;
}

int main(void) {
    static uint64_t kept;
    while (fgets(line, sizeof line, stdin) != NULL) {
        static char first[MOST * 2 + 2], second[MOST * 2 + 2], third[200000];
        uint64_t number = 0;
        size_t length;
        const char *value;
        first[0] = second[0] = third[0] = '\0';
        sscanf(line + 1, "%140001s %140001s %199999s", first, second, third);
        switch (line[0]) {
        case 'r': /* TERMINATOR-HEX CAPACITY PIECES */
            read_pieces(strcmp(first, "-") == 0 ? first + 1 : first, (size_t)strtoul(second, NULL, 10), third);
            break;
        case 'w': /* TEXT-HEX NUMBER CAPACITY */
            length = strcmp(first, "-") == 0 ? 0 : unhex(first, bytes[0]);
            write_object(bytes[0], length, (int64_t)strtoll(second, NULL, 10), (size_t)strtoul(third, NULL, 10));
            break;
        case 'm': /* OBJECT-HEX NAME: the member, the string, the number */
            length = unhex(first, bytes[0]);
            char *object = (char *)malloc(length > 0 ? length : 1);
            size_t size;
            memcpy(object, bytes[0], length);
            if (pg_member(object, length, second, &value, &size)) show("=", value, size);
            if (pg_string(object, length, second, bytes[1], 40)) show("s", bytes[1], strlen(bytes[1]));
            if (pg_unsigned(object, length, second, &number)) printf("u%" PRIu64 " ", number);
            free(object);
            break;
        case 'b': { /* SEED: ten pauses, and one after a long connection */
            struct pg_backoff backoff;
            pg_backoff_init(&backoff, (uint32_t)strtoul(first, NULL, 10));
            for (int at = 0; at < 10; at++) printf("%" PRIu32 " ", pg_backoff_next(&backoff));
            pg_backoff_reset(&backoff, PG_PAUSE_MAX_MS);
            printf("%" PRIu32 " ", pg_backoff_next(&backoff));
            break;
        }
        case 'g': /* HEARD NOW */
            printf("%d ", pg_is_gone((uint32_t)strtoul(first, NULL, 10), (uint32_t)strtoul(second, NULL, 10)));
            break;
        case 'a': /* DATAGRAM-HEX */
            printf("%d ", pg_is_answer(bytes[0], unhex(first, bytes[0])));
            break;
        case 'o': /* SIZE: offers a file */
            memset(&outgoing, 0, sizeof outgoing);
            strcpy(outgoing.file.name, "log-3.bin");
            outgoing.file.size = (uint64_t)strtoull(first, NULL, 10);
            outgoing.read = read_file;
            show("", bytes[0], pg_offer(&outgoing, bytes[0], 1000));
            break;
        case 'O': /* COMMAND-HEX CAPACITY */
            length = unhex(first, bytes[0]);
            show("", bytes[1], pg_outgoing_handle(&outgoing, bytes[0], length, bytes[1], (size_t)strtoul(second, NULL, 10)));
            printf("%d %s ", (int)outgoing.state, outgoing.reason);
            break;
        case 'i': /* PIECE STORED: is ready for a file */
            memset(&incoming, 0, sizeof incoming);
            incoming.piece = (uint32_t)strtoul(first, NULL, 10);
            kept = (uint64_t)strtoull(second, NULL, 10);
            incoming.context = &kept;
            incoming.begin = begin_file;
            incoming.write = write_file;
            incoming.finish = finish_file;
            break;
        case 'I': /* COMMAND-HEX */
            length = unhex(first, bytes[0]);
            show("", bytes[1], pg_incoming_handle(&incoming, bytes[0], length, bytes[1], sizeof bytes[1]));
            printf("%d %" PRIu32 " ", (int)incoming.state, incoming.dropped);
            break;
        case 'R': /* asks again */
            show("", bytes[1], pg_incoming_retry(&incoming, bytes[1], sizeof bytes[1]));
            break;
        default:
            return 2;
        }
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}

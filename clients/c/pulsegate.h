/* A device's end of the pulsegate protocol, for firmware: docs/protocol.md describes the protocol.
 *
 * C99, one header, no allocation, no sockets, no clock: bytes and milliseconds go in, bytes and events come out.
 * All functions are static inline. Times are milliseconds of any monotonic uint32_t clock, which may wrap.
 *
 *     discovery    PG_PROBE, pg_is_answer
 *     stream       pg_reader_init, pg_next, pg_flush, PG_BEAT_ANSWER
 *     liveness     pg_is_gone
 *     reconnect    pg_backoff_init, pg_backoff_next, pg_backoff_reset
 *     objects      pg_begin, pg_text, pg_integer, pg_decimal, pg_bool, pg_base64, pg_open, pg_close, pg_end
 *     commands     pg_member, pg_string, pg_unsigned
 *     files        pg_offer, pg_outgoing_handle, pg_incoming_handle, pg_incoming_retry
 */
#ifndef PULSEGATE_H
#define PULSEGATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- Discovery: send PG_PROBE to UDP port 5555, and connect to the sender of an answer on TCP port 5556 ---- */

#define PG_UDP_PORT 5555
#define PG_TCP_PORT 5556
#define PG_PROBE "pulsegate?"
#define PG_ANSWER "udp responsed"

/* Returns 1 where a datagram is a gateway's answer. */
static inline int pg_is_answer(const void *data, size_t length) {
    return length == sizeof PG_ANSWER - 1 && memcmp(data, PG_ANSWER, length) == 0;
}

/* ---- Stream: beats and commands ---- */

#define PG_BEAT_TEXT "heartbeat"
#define PG_BEAT_ANSWER "{\"Type\":\"Heartbeat\"}"

enum pg_event {
    PG_NONE,    /* the input is used up */
    PG_BEAT,    /* send PG_BEAT_ANSWER */
    PG_COMMAND, /* a complete command, with a terminator only */
    PG_TEXT,    /* a piece of commands, without a terminator only: the device knows where a command ends */
    PG_OVERLONG /* a command that did not fit the buffer and is lost */
};

struct pg_reader {
    char *buffer; /* the device's memory for one command and its terminator */
    size_t capacity;
    size_t length;
    const char *terminator; /* the gateway's `terminator`, or "" */
    size_t terminator_length;
    size_t matched; /* bytes of a beat at the end of the input so far, without a terminator */
    int overlong;
};

/* Begins a connection. With a terminator, `buffer` holds the longest command, its terminator, and at least a beat.
 * Without one its length is 0, and `buffer` may be NULL. `terminator` has to stay valid. */
static inline void pg_reader_init(struct pg_reader *reader, const char *terminator, size_t terminator_length, char *buffer,
                                  size_t capacity) {
    memset(reader, 0, sizeof *reader);
    reader->terminator = terminator;
    reader->terminator_length = terminator_length;
    reader->buffer = buffer;
    reader->capacity = capacity;
}

static inline enum pg_event pg__next_line(struct pg_reader *reader, const char **input, size_t *left, const char **text,
                                          size_t *length) {
    const size_t ending = reader->terminator_length;
    while (*left > 0) {
        if (reader->length == reader->capacity) { /* keep only what may be the beginning of the terminator */
            memmove(reader->buffer, reader->buffer + reader->length - (ending - 1), ending - 1);
            reader->length = ending - 1;
            reader->overlong = 1;
        }
        reader->buffer[reader->length++] = *(*input)++;
        --*left;
        if (reader->length < ending ||
            memcmp(reader->buffer + reader->length - ending, reader->terminator, ending) != 0)
            continue;
        const int overlong = reader->overlong;
        *text = reader->buffer;
        *length = reader->length - ending;
        reader->length = 0;
        reader->overlong = 0;
        if (overlong) return PG_OVERLONG;
        if (*length == sizeof PG_BEAT_TEXT - 1 && memcmp(*text, PG_BEAT_TEXT, *length) == 0) return PG_BEAT;
        return PG_COMMAND;
    }
    return PG_NONE;
}

/* Only the first letter of the beat is an `h`. So bytes that began like a beat and went on otherwise are all text. */
static inline enum pg_event pg__next_raw(struct pg_reader *reader, const char **input, size_t *left, const char **text,
                                         size_t *length) {
    const size_t beat = sizeof PG_BEAT_TEXT - 1, held = reader->matched;
    size_t same = 0;
    while (held + same < beat && same < *left && (*input)[same] == PG_BEAT_TEXT[held + same]) same++;
    const int is_beat = held + same == beat, may_be_beat = !is_beat && same == *left;
    *text = held > 0 ? PG_BEAT_TEXT : *input;
    reader->matched = may_be_beat ? held + same : 0;
    if (!is_beat && !may_be_beat) {
        *length = held;
        if (held > 0) return PG_TEXT;
        while (same < *left && (*input)[same] != PG_BEAT_TEXT[0]) same++;
        *length = same;
    }
    *input += same;
    *left -= same;
    return is_beat ? PG_BEAT : may_be_beat ? PG_NONE : PG_TEXT;
}

/* Returns the next event of received bytes, and moves `*input` and `*left` over the bytes that it used. Call it until
 * it returns PG_NONE. `*text` is valid until the next call. */
static inline enum pg_event pg_next(struct pg_reader *reader, const char **input, size_t *left, const char **text,
                                    size_t *length) {
    *length = 0;
    if (reader->terminator_length > 0) return pg__next_line(reader, input, left, text, length);
    return pg__next_raw(reader, input, left, text, length);
}

/* Returns the number of held bytes that a pause in the stream turns into text, without a terminator only. */
static inline size_t pg_flush(struct pg_reader *reader, const char **text) {
    const size_t held = reader->matched;
    *text = PG_BEAT_TEXT;
    reader->matched = 0;
    return held;
}

/* ---- Liveness: the gateway is gone after PG_SILENCE_MS without a byte ---- */

#define PG_SILENCE_MS 30000u

/* Returns 1 where the connection is dead: close the socket and connect again. `heard` is the time of the last byte from
 * the gateway, or of the connect. */
static inline int pg_is_gone(uint32_t heard, uint32_t now) { return (uint32_t)(now - heard) >= PG_SILENCE_MS; }

/* ---- Reconnect: pauses from 1 s to 30 s, each times a random factor from 0.5 to 1 ---- */

#define PG_PAUSE_MIN_MS 1000u
#define PG_PAUSE_MAX_MS 30000u

struct pg_backoff {
    uint32_t pause;
    uint32_t random;
};

/* `seed` differs from device to device, such as a part of the MAC address. */
static inline void pg_backoff_init(struct pg_backoff *backoff, uint32_t seed) {
    backoff->pause = PG_PAUSE_MIN_MS;
    backoff->random = seed * 2654435761u | 1u; /* xorshift never leaves 0 */
}

/* Returns the milliseconds to wait before the next attempt. */
static inline uint32_t pg_backoff_next(struct pg_backoff *backoff) {
    const uint32_t half = backoff->pause / 2;
    backoff->random ^= backoff->random << 13;
    backoff->random ^= backoff->random >> 17;
    backoff->random ^= backoff->random << 5;
    backoff->pause = backoff->pause >= PG_PAUSE_MAX_MS / 2 ? PG_PAUSE_MAX_MS : backoff->pause * 2;
    return half + backoff->random % (half + 1);
}

/* Call it when a connection ends, with the milliseconds that it lasted. */
static inline void pg_backoff_reset(struct pg_backoff *backoff, uint32_t lasted) {
    if (lasted >= PG_PAUSE_MAX_MS) backoff->pause = PG_PAUSE_MIN_MS;
}

/* ---- Objects: pg_begin, any members, pg_end. What does not fit makes pg_end return 0 ---- */

#define PG_DEPTH_MAX 32u

struct pg_writer {
    char *buffer;
    size_t capacity;
    size_t length;
    uint32_t arrays; /* one bit for each open level */
    unsigned depth;
    int comma;
    int failed;
};

static inline void pg__put(struct pg_writer *writer, const char *bytes, size_t length) {
    if (writer->failed || length > writer->capacity - writer->length) {
        writer->failed = 1;
        return;
    }
    if (length > 0) memcpy(writer->buffer + writer->length, bytes, length);
    writer->length += length;
}

/* Returns the length of the valid UTF-8 sequence (RFC 3629) at the front, or 0. */
static inline size_t pg__utf8(const unsigned char *bytes, size_t left) {
    const unsigned char first = bytes[0];
    const size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > left) return 0;
    for (size_t index = 1; index < length; index++)
        if ((bytes[index] & 0xC0) != 0x80) return 0;
    if ((first == 0xE0 && bytes[1] < 0xA0) || (first == 0xED && bytes[1] > 0x9F)) return 0;
    if ((first == 0xF0 && bytes[1] < 0x90) || (first == 0xF4 && bytes[1] > 0x8F)) return 0;
    return length;
}

/* Writes a JSON string. Bytes that are not UTF-8 become U+FFFD, so that the gateway never rejects the object. */
static inline void pg__quote(struct pg_writer *writer, const char *text, size_t length) {
    static const char hex[] = "0123456789abcdef";
    const unsigned char *bytes = (const unsigned char *)text;
    pg__put(writer, "\"", 1);
    for (size_t index = 0; index < length;) {
        const unsigned char byte = bytes[index];
        const size_t valid = pg__utf8(bytes + index, length - index);
        if (byte == '"' || byte == '\\') {
            const char escape[2] = {'\\', text[index]};
            pg__put(writer, escape, 2);
        } else if (byte < 0x20) {
            const char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            pg__put(writer, escape, 6);
        } else if (valid > 0) {
            pg__put(writer, text + index, valid);
        } else {
            pg__put(writer, "\xEF\xBF\xBD", 3);
        }
        index += valid > 0 ? valid : 1;
    }
    pg__put(writer, "\"", 1);
}

/* Writes what stands before a value. In an array `name` is NULL. */
static inline void pg__name(struct pg_writer *writer, const char *name) {
    if (writer->comma) pg__put(writer, ",", 1);
    writer->comma = 1;
    if (name == NULL) return;
    pg__quote(writer, name, strlen(name));
    pg__put(writer, ":", 1);
}

static inline void pg_text_n(struct pg_writer *writer, const char *name, const char *text, size_t length) {
    pg__name(writer, name);
    pg__quote(writer, text, length);
}

static inline void pg_text(struct pg_writer *w, const char *name, const char *text) { pg_text_n(w, name, text, strlen(text)); }

/* Writes `value` with a decimal point before its last `decimals` digits: 2315 with 2 is 23.15. */
static inline void pg_decimal(struct pg_writer *writer, const char *name, int64_t value, unsigned decimals) {
    char digits[48];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
    if (decimals > 20) writer->failed = 1;
    for (unsigned count = 0; !writer->failed && (rest > 0 || count <= decimals); count++, rest /= 10) {
        if (count == decimals && decimals > 0) digits[--at] = '.';
        digits[--at] = (char)('0' + rest % 10);
    }
    if (value < 0) digits[--at] = '-';
    pg__name(writer, name);
    pg__put(writer, digits + at, sizeof digits - at);
}

static inline void pg_integer(struct pg_writer *w, const char *name, int64_t value) { pg_decimal(w, name, value, 0); }

static inline void pg_bool(struct pg_writer *writer, const char *name, int value) {
    pg__name(writer, name);
    pg__put(writer, value ? "true" : "false", value ? 4 : 5);
}

static const char pg__letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes bytes as a string in base64 (RFC 4648, section 4). `data` may overlap the end of the buffer. */
static inline void pg_base64(struct pg_writer *writer, const char *name, const void *data, size_t length) {
    const unsigned char *bytes = (const unsigned char *)data;
    pg__name(writer, name);
    pg__put(writer, "\"", 1);
    for (size_t index = 0; index < length; index += 3) {
        const size_t count = length - index < 3 ? length - index : 3;
        const uint32_t group = (uint32_t)bytes[index] << 16 | (count > 1 ? (uint32_t)bytes[index + 1] << 8 : 0u) |
                               (count > 2 ? (uint32_t)bytes[index + 2] : 0u);
        const char four[4] = {pg__letters[group >> 18], pg__letters[group >> 12 & 63],
                              count > 1 ? pg__letters[group >> 6 & 63] : '=', count > 2 ? pg__letters[group & 63] : '='};
        pg__put(writer, four, 4);
    }
    pg__put(writer, "\"", 1);
}

/* Opens an object ('{') or an array ('['). */
static inline void pg_open(struct pg_writer *writer, const char *name, char bracket) {
    if (writer->depth >= PG_DEPTH_MAX) writer->failed = 1;
    pg__name(writer, name);
    pg__put(writer, &bracket, 1);
    writer->arrays = writer->arrays << 1 | (bracket == '[');
    writer->depth++;
    writer->comma = 0;
}

static inline void pg_close(struct pg_writer *writer) {
    if (writer->depth == 0) return;
    pg__put(writer, writer->arrays & 1 ? "]" : "}", 1);
    writer->arrays >>= 1;
    writer->depth--;
    writer->comma = 1;
}

/* Begins an object of this type. */
static inline void pg_begin(struct pg_writer *writer, char *buffer, size_t capacity, const char *type) {
    memset(writer, 0, sizeof *writer);
    writer->buffer = buffer;
    writer->capacity = capacity;
    pg_open(writer, NULL, '{');
    pg_text(writer, "Type", type);
}

/* Closes all levels. Returns the object's length, or 0 where it did not fit: send nothing then. */
static inline size_t pg_end(struct pg_writer *writer) {
    while (writer->depth > 0) pg_close(writer);
    return writer->failed ? 0 : writer->length;
}

/* ---- Commands that are JSON objects ---- */

static inline size_t pg__space(const char *text, size_t length, size_t at) {
    while (at < length && (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n')) at++;
    return at;
}

/* Returns the place behind the value at `at`, or 0 where the text ends inside it. */
static inline size_t pg__skip(const char *text, size_t length, size_t at) {
    size_t depth = 0;
    int quoted = 0;
    for (const size_t start = at; at < length; at++) {
        const char byte = text[at];
        if (quoted) {
            if (byte == '\\') at++;
            quoted = byte != '"';
            if (!quoted && depth == 0) return at + 1;
        } else if (byte == '"') {
            quoted = 1;
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if (depth == 0 && memchr(",]} \t\r\n", byte, 7) != NULL) {
            return at > start ? at : 0;
        } else if ((byte == '}' || byte == ']') && --depth == 0) {
            return at + 1;
        }
    }
    return 0;
}

/* Finds a top-level member of an object, and returns 1 with the text of its value: strings keep quotes and escapes. */
static inline int pg_member(const char *object, size_t length, const char *name, const char **value, size_t *size) {
    const size_t wanted = strlen(name);
    size_t at = pg__space(object, length, 0);
    if (at >= length || object[at] != '{') return 0;
    do {
        const size_t key = pg__space(object, length, at + 1);
        const size_t end = key < length && object[key] == '"' ? pg__skip(object, length, key) : 0;
        const size_t colon = end > 0 ? pg__space(object, length, end) : length;
        if (colon >= length || object[colon] != ':') return 0;
        const size_t start = pg__space(object, length, colon + 1);
        const size_t next = pg__skip(object, length, start);
        if (next == 0) return 0;
        if (end - key == wanted + 2 && memcmp(object + key + 1, name, wanted) == 0) {
            *value = object + start;
            *size = next - start;
            return 1;
        }
        at = pg__space(object, length, next);
    } while (at < length && object[at] == ',');
    return 0;
}

/* Copies a string member without escapes, and a NUL behind it. Returns 1, or 0 where it is absent or does not fit. */
static inline int pg_string(const char *object, size_t length, const char *name, char *copy, size_t capacity) {
    const char *value;
    size_t size, used = 0;
    if (!pg_member(object, length, name, &value, &size) || size < 2 || value[0] != '"') return 0;
    for (size_t at = 1; at < size - 1; at++) {
        char byte = value[at];
        if (byte == '\\') {
            static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
            size_t index = 0;
            byte = value[++at];
            while (index < sizeof escapes - 1 && escapes[index] != byte) index += 2;
            if (index >= sizeof escapes - 1) return 0; /* \uXXXX: names and reasons of this protocol need none */
            byte = escapes[index + 1];
        }
        if (used + 1 >= capacity) return 0;
        copy[used++] = byte;
    }
    copy[used] = '\0';
    return 1;
}

/* Returns 1 with a member that is a whole number from 0 on. */
static inline int pg_unsigned(const char *object, size_t length, const char *name, uint64_t *number) {
    const char *value;
    size_t size;
    if (!pg_member(object, length, name, &value, &size) || size > 19) return 0;
    *number = 0;
    for (size_t at = 0; at < size; at++) {
        if (value[at] < '0' || value[at] > '9') return 0;
        *number = *number * 10 + (uint64_t)(value[at] - '0');
    }
    return 1;
}

/* ---- Files in pieces. They need a terminator ---- */

#define PG_NAME_MAX 128u
#define PG_FRAME_BYTES 512u /* an upper bound of an object with a piece, without the piece and its base64 */

struct pg_file {
    char name[PG_NAME_MAX + 1]; /* no '/', no control character, no leading dot */
    char sha256[65];            /* in hexadecimal, or "": the device brings the function that computes it */
    uint64_t size;
};

enum pg_state { PG_IDLE, PG_RUNNING, PG_DONE, PG_FAILED };

static inline int pg_is_file_name(const char *name) {
    const size_t length = strlen(name);
    if (length == 0 || length > PG_NAME_MAX || name[0] == '.') return 0;
    for (size_t at = 0; at < length; at++)
        if ((unsigned char)name[at] < 0x20 || name[at] == 0x7F || name[at] == '/') return 0;
    return 1;
}

/* Returns the bytes of a piece whose command fits a reader's buffer of this capacity. */
static inline uint32_t pg_piece_max(size_t capacity) {
    return capacity <= PG_FRAME_BYTES ? 0 : (uint32_t)((capacity - PG_FRAME_BYTES) / 4 * 3);
}

static inline void pg__file(struct pg_writer *writer, char *buffer, size_t capacity, const char *op, const char *name) {
    pg_begin(writer, buffer, capacity, "File");
    pg_text(writer, "Op", op);
    pg_text(writer, "Name", name);
}

/* Returns 1 with the operation and the file name where a command belongs to files. */
static inline int pg_file_op(const char *command, size_t length, char op[16], char name[PG_NAME_MAX + 1]) {
    char type[8];
    return pg_string(command, length, "Type", type, sizeof type) && strcmp(type, "File") == 0 &&
           pg_string(command, length, "Op", op, 16) && pg_string(command, length, "Name", name, PG_NAME_MAX + 1);
}

/* A file that the device has and the gateway asks for. */
struct pg_outgoing {
    struct pg_file file;
    enum pg_state state;
    char reason[16]; /* of PG_FAILED */
    void *context;
    size_t (*read)(void *context, uint64_t offset, void *data, size_t length); /* returns the bytes that it read */
};

/* Writes the offer. Send it after every connect until the state is PG_DONE or PG_FAILED. */
static inline size_t pg_offer(struct pg_outgoing *out, char *buffer, size_t capacity) {
    struct pg_writer writer;
    if (!pg_is_file_name(out->file.name)) return 0;
    pg__file(&writer, buffer, capacity, "offer", out->file.name);
    pg_integer(&writer, "Size", (int64_t)out->file.size);
    if (out->file.sha256[0] != '\0') pg_text(&writer, "Sha256", out->file.sha256);
    out->state = PG_RUNNING;
    return pg_end(&writer);
}

/* Handles a command. Writes the object to send and returns its length, or 0 where there is nothing to send. */
static inline size_t pg_outgoing_handle(struct pg_outgoing *out, const char *command, size_t length, char *buffer,
                                        size_t capacity) {
    char op[16], name[PG_NAME_MAX + 1];
    uint64_t offset, wanted;
    struct pg_writer writer;
    if (!pg_file_op(command, length, op, name) || strcmp(name, out->file.name) != 0) return 0;
    if (strcmp(op, "done") == 0) out->state = PG_DONE;
    if (strcmp(op, "failed") == 0 || strcmp(op, "refuse") == 0) {
        out->state = PG_FAILED;
        if (!pg_string(command, length, "Reason", out->reason, sizeof out->reason)) out->reason[0] = '\0';
    }
    if (strcmp(op, "get") != 0 || !pg_unsigned(command, length, "Offset", &offset) ||
        !pg_unsigned(command, length, "Length", &wanted) || offset >= out->file.size)
        return 0;
    if (wanted > out->file.size - offset) wanted = out->file.size - offset;
    if (wanted > pg_piece_max(capacity)) wanted = pg_piece_max(capacity);
    if (wanted == 0) return 0;
    /* The piece is read into the end of the buffer. Its base64 grows towards it and never overtakes it. */
    char *piece = buffer + capacity - (size_t)wanted;
    const size_t got = out->read(out->context, offset, piece, (size_t)wanted);
    if (got == 0 || got > wanted) return 0;
    pg__file(&writer, buffer, capacity, "data", name);
    pg_integer(&writer, "Offset", (int64_t)offset);
    pg_base64(&writer, "Data", piece, got);
    return pg_end(&writer);
}

/* A file that the gateway has and the device asks for. */
struct pg_incoming {
    struct pg_file file;
    enum pg_state state;
    uint64_t offset;       /* bytes that are stored */
    uint32_t piece;        /* bytes to ask for at once: pg_piece_max(capacity of the reader) at most */
    const char *reason;    /* of PG_FAILED */
    uint32_t dropped;      /* pieces that nobody asked for */
    void *context;
    /* Decides on an offer. Returns NULL and the bytes that are stored already, or a reason: "quota", "name", "size", "busy". */
    const char *(*begin)(void *context, const struct pg_file *file, uint64_t *stored);
    int (*write)(void *context, uint64_t offset, const void *data, size_t length); /* returns 0 on success */
    /* Makes the file final. Returns NULL, or a reason: "sha256", "size", "full". */
    const char *(*finish)(void *context, const struct pg_file *file);
};

static inline size_t pg__verdict(struct pg_incoming *in, const char *op, const char *reason, char *buffer, size_t capacity) {
    struct pg_writer writer;
    in->state = reason == NULL ? PG_DONE : PG_FAILED;
    in->reason = reason;
    pg__file(&writer, buffer, capacity, op, in->file.name);
    if (reason != NULL) pg_text(&writer, "Reason", reason);
    return pg_end(&writer);
}

/* Writes the request for the next piece, or the end of a complete file. Call it again after a timeout. */
static inline size_t pg_incoming_retry(struct pg_incoming *in, char *buffer, size_t capacity) {
    struct pg_writer writer;
    if (in->state != PG_RUNNING) return 0;
    if (in->offset == in->file.size) {
        const char *reason = in->finish(in->context, &in->file);
        return pg__verdict(in, reason == NULL ? "done" : "failed", reason, buffer, capacity);
    }
    const uint64_t left = in->file.size - in->offset;
    pg__file(&writer, buffer, capacity, "get", in->file.name);
    pg_integer(&writer, "Offset", (int64_t)in->offset);
    pg_integer(&writer, "Length", left < in->piece ? (int64_t)left : (int64_t)in->piece);
    return pg_end(&writer);
}

/* Decodes base64 and returns its length, or SIZE_MAX where it is wrong or does not fit. */
static inline size_t pg__decode(const char *text, size_t length, char *data, size_t capacity) {
    uint32_t group = 0;
    size_t used = 0;
    if (length % 4 != 0) return SIZE_MAX;
    for (size_t at = 0; at < length; at++) {
        const char letter = text[at];
        const int last = at + 2 >= length && letter == '=' && (at + 1 == length || text[at + 1] == '=');
        const char *place = (const char *)memchr(pg__letters, letter, 64);
        if (place == NULL && !last) return SIZE_MAX;
        group = group << 6 | (place == NULL ? 0u : (uint32_t)(place - pg__letters));
        if (at % 4 == 3) {
            const size_t count = letter != '=' ? 3 : text[at - 1] != '=' ? 2 : 1;
            if (capacity - used < count) return SIZE_MAX;
            for (size_t index = 0; index < count; index++) data[used++] = (char)(group >> (16 - 8 * index) & 0xFF);
        }
    }
    return used;
}

/* Handles a command. Writes the object to send and returns its length, or 0 where there is nothing to send. */
static inline size_t pg_incoming_handle(struct pg_incoming *in, const char *command, size_t length, char *buffer,
                                        size_t capacity) {
    char op[16], name[PG_NAME_MAX + 1];
    const char *data;
    uint64_t offset;
    size_t size;
    if (!pg_file_op(command, length, op, name)) return 0;
    if (strcmp(op, "offer") == 0) {
        struct pg_file file;
        memset(&file, 0, sizeof file);
        memcpy(file.name, name, sizeof name);
        if (!pg_unsigned(command, length, "Size", &file.size)) return 0;
        if (!pg_string(command, length, "Sha256", file.sha256, sizeof file.sha256)) file.sha256[0] = '\0';
        const int other = in->state == PG_RUNNING && strcmp(in->file.name, name) != 0;
        if (other || !pg_is_file_name(name)) {
            struct pg_writer writer; /* the present transfer goes on */
            pg__file(&writer, buffer, capacity, "refuse", name);
            pg_text(&writer, "Reason", other ? "busy" : "name");
            return pg_end(&writer);
        }
        in->file = file;
        in->offset = 0;
        in->state = PG_RUNNING;
        const char *reason = in->begin(in->context, &in->file, &in->offset);
        if (reason != NULL) return pg__verdict(in, "refuse", reason, buffer, capacity);
        if (in->offset > in->file.size) in->offset = 0;
        return pg_incoming_retry(in, buffer, capacity);
    }
    if (strcmp(op, "data") != 0 || in->state != PG_RUNNING || strcmp(in->file.name, name) != 0) return 0;
    if (!pg_unsigned(command, length, "Offset", &offset) || offset != in->offset ||
        !pg_member(command, length, "Data", &data, &size) || size < 2 || data[0] != '"' ||
        (size = pg__decode(data + 1, size - 2, buffer, capacity)) == SIZE_MAX || size == 0 ||
        size > in->piece || size > in->file.size - offset) {
        in->dropped++;
        return 0;
    }
    if (in->write(in->context, offset, buffer, size) != 0) return pg__verdict(in, "failed", "full", buffer, capacity);
    in->offset += size;
    return pg_incoming_retry(in, buffer, capacity);
}

#endif

/* SHA-256 (FIPS 180-4) for the examples. Firmware has its own, such as mbedtls_sha256. */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
};

static inline void sha256_init(struct sha256 *hash) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, start, sizeof start);
    hash->length = 0;
}

static inline uint32_t sha256__rotate(uint32_t word, unsigned bits) { return word >> bits | word << (32 - bits); }

static inline void sha256__block(struct sha256 *hash) {
    static const uint32_t constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
        0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
        0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t words[64], v[8];
    for (size_t at = 0; at < 16; at++) {
        const unsigned char *byte = hash->block + 4 * at;
        words[at] = (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 | (uint32_t)byte[2] << 8 | (uint32_t)byte[3];
    }
    for (size_t at = 16; at < 64; at++) {
        const uint32_t early = words[at - 15], late = words[at - 2];
        words[at] = words[at - 16] + words[at - 7] + (sha256__rotate(early, 7) ^ sha256__rotate(early, 18) ^ early >> 3) +
                    (sha256__rotate(late, 17) ^ sha256__rotate(late, 19) ^ late >> 10);
    }
    memcpy(v, hash->state, sizeof v);
    for (size_t at = 0; at < 64; at++) {
        const uint32_t one = v[7] + (sha256__rotate(v[4], 6) ^ sha256__rotate(v[4], 11) ^ sha256__rotate(v[4], 25)) +
                             ((v[4] & v[5]) ^ (~v[4] & v[6])) + constants[at] + words[at];
        const uint32_t two = (sha256__rotate(v[0], 2) ^ sha256__rotate(v[0], 13) ^ sha256__rotate(v[0], 22)) +
                             ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (size_t at = 0; at < 8; at++) hash->state[at] += v[at];
}

static inline void sha256_add(struct sha256 *hash, const void *data, size_t length) {
    const unsigned char *bytes = (const unsigned char *)data;
    for (size_t at = 0; at < length; at++) {
        hash->block[hash->length++ % 64] = bytes[at];
        if (hash->length % 64 == 0) sha256__block(hash);
    }
}

/* Ends the hash, and writes it in hexadecimal with a NUL behind it. */
static inline void sha256_end(struct sha256 *hash, char hex[65]) {
    static const char digits[] = "0123456789abcdef";
    static const unsigned char padding[64] = {0x80};
    const uint64_t bits = hash->length * 8;
    unsigned char end[8];
    sha256_add(hash, padding, 1 + (119 - (size_t)(hash->length % 64)) % 64);
    for (size_t at = 0; at < 8; at++) end[at] = (unsigned char)(bits >> (56 - 8 * at));
    sha256_add(hash, end, sizeof end);
    for (size_t at = 0; at < 64; at++) hex[at] = digits[hash->state[at / 8] >> (28 - 4 * (at % 8)) & 15];
    hex[64] = '\0';
}

#endif

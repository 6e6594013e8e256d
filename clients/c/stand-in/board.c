/* A board without hardware: its flash is the file that the command line names. */
#define _POSIX_C_SOURCE 200809L
#include "board.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sha256.h"

#define FLASH_BYTES (16u << 20)

static const char *path;
static FILE *flash;
static struct sha256 hash;

const char *board_id(void) { return "lwip-1"; }
uint32_t board_random(void) { return (uint32_t)time(NULL) ^ (uint32_t)getpid(); }
void board_restart(void) { exit(0); }
size_t board_firmware_max(void) { return FLASH_BYTES; }

int board_firmware_begin(void) {
    if (flash != NULL) fclose(flash);
    sha256_init(&hash);
    flash = fopen(path, "wb");
    return flash == NULL ? -1 : 0;
}

int board_firmware_write(const void *data, size_t length) {
    sha256_add(&hash, data, length);
    return fwrite(data, 1, length, flash) == length ? 0 : -1;
}

int board_firmware_end(const char *sha256) {
    char hex[65];
    sha256_end(&hash, hex);
    const int closed = fclose(flash);
    flash = NULL;
    return closed == 0 && strcmp(hex, sha256) == 0 ? 0 : -1;
}

int main(int argc, char **argv) {
    path = argc > 1 ? argv[1] : "firmware.bin";
    pulsegate_start();
    return 0;
}

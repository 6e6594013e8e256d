/* The functions that lwip.c needs from the firmware, with those of ESP-IDF that do the same. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

void pulsegate_start(void); /* of lwip.c */

const char *board_id(void);      /* differs from device to device, such as the MAC address: esp_read_mac */
uint32_t board_random(void);     /* esp_random */
void board_restart(void);        /* esp_restart */
size_t board_firmware_max(void); /* bytes of the partition: esp_ota_get_next_update_partition */

/* These return 0 on success. */
int board_firmware_begin(void);                            /* esp_ota_begin */
int board_firmware_write(const void *data, size_t length); /* esp_ota_write, mbedtls_sha256_update */
int board_firmware_end(const char *sha256);                /* esp_ota_end, esp_ota_set_boot_partition */

#endif

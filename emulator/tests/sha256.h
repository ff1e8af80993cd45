/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const uint8_t *p, size_t len, uint8_t out[32]);
/* For keys and messages of up to 64 and 256 bytes */
void hmac_sha256(const uint8_t *key, size_t key_len, const uint8_t *msg,
                 size_t len, uint8_t out[32]);

#endif

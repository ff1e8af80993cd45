/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The cipher of memory: a keyed, address-dependent XOR, which hides nothing
 * from an adversary, and everything from a mistake.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "memory.h"

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void sev_tcg_crypt(uint64_t key, uint64_t paddr, uint8_t *buf, uint32_t len)
{
    uint32_t i;

    for (i = 0; key && i < len; i++) {
        uint64_t word = mix(key ^ mix((paddr + i) & ~7ull));

        if (!((paddr + i) & 7) && len - i >= 8) {
            stq_le_p(buf + i, ldq_le_p(buf + i) ^ word);
            i += 7;
        } else {
            buf[i] ^= word >> (8 * ((paddr + i) & 7));
        }
    }
}

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's page tables, descriptor tables and trap handling.
 */
#include "guest.h"

extern void (*entry_fn)(void);
extern char trap_stubs[];

volatile uint64_t traps[256], trap_error, trap_rip, watch_rip, watch_next;
void (*volatile trap_handler)(struct frame *);

static uint64_t gdt[3] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
static struct { uint16_t off0, sel, type, off1; uint32_t off2, zero; } idt[256];

struct processor processor;

void read_processor(void)
{
    uint32_t a = 0x8000001f, b, c = 0, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    processor = (struct processor){ 1ull << (b & 63), c, d, a & 1u << 14 };
}

void guest_tables(uint8_t *mem, uint64_t cbit)
{
    uint64_t *pml4 = (uint64_t *)(mem + TABLES), *pdpt = pml4 + 512;
    uint64_t *pd = pdpt + 512, a;

    pml4[0] = (TABLES + 0x1000) | cbit | 7;
    pdpt[0] = (TABLES + 0x2000) | cbit | 7;
    for (a = 0; a < MEM_SIZE; a += 2 << 20) {
        pd[a >> 21] = a | (a < SHARED ? cbit : 0) | 0x87;
    }
    pd[MMIO >> 21] = (1ull << 30) | 0x87;
    pd[ALIAS >> 21] = SECRET_PAGE | 0x87;
}

GUEST void guest_trap(struct frame *f)
{
    traps[f->vector]++;
    trap_error = f->error;
    trap_rip = f->rip;
    if (trap_handler) {
        trap_handler(f);
    } else if (watch_next && f->rip == watch_rip) {
        f->rip = watch_next;
        watch_next = 0;
    } else {
        if (!shared->failed) {
            shared->failed = 1000000 + f->vector;
            shared->value[14] = f->error;
            shared->value[15] = f->rip;
        }
        for (;;) {
            pause_guest();
        }
    }
}

GUEST void load_traps(void)
{
    struct { uint16_t limit; void *base; } __attribute__((packed))
        idtr = { sizeof(idt) - 1, idt };
    int i;

    for (i = 0; i < 256; i++) {
        uint64_t a = (uintptr_t)trap_stubs + 16 * i;

        idt[i].off0 = a;
        idt[i].sel = 8;
        idt[i].type = 0x8e00;
        idt[i].off1 = a >> 16;
        idt[i].off2 = a >> 32;
    }
    asm volatile("lidt %0" : : "m"(idtr));
}

GUEST void guest_main(void)
{
    struct { uint16_t limit; void *base; } __attribute__((packed))
        gdtr = { sizeof(gdt) - 1, gdt };

    asm volatile("lgdt %0" : : "m"(gdtr));
    load_traps();
    entry_fn();
    shared->done = 1;
}

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest that is this program: its image is copied to the same addresses of
 * the guest's memory, and a function of it called there.
 */
#ifndef VMM_H
#define VMM_H

#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_SIZE        0x1000000ull
#define TABLES          0x100000ull     /* page tables */
#define SHARED          0xe00000ull     /* from here on without the C-bit */
#define GHCB            0xf00000ull
#define UNTOUCHED       0xf80000ull     /* shared, and never touched */
#define MMIO            0x1000000ull    /* maps 1 GiB, where no memory is */
#define ALIAS           0x1200000ull    /* SECRET_PAGE without its C-bit */
#define SECRET_PAGE     0xa00000ull     /* private, 2 MiB */

enum type { PLAIN, SEV, SEV_ES, SNP };

struct mailbox {
    uint64_t done;                      /* the guest has no more to say */
    uint64_t failed;                    /* line of the guest's first failure */
    uint64_t value[16];
};
#define shared ((volatile struct mailbox *)SHARED)

struct vm {
    int fd, cpu;
    int private;                        /* SNP: the guest's private memory */
    enum type type;
    uint8_t *mem;
    struct kvm_run *run;
    uint32_t error;                     /* the firmware's, of the last command */
    uint8_t measure[48];
};

/* What CPUID 0x8000001F tells the host; a guest finds what its host has read */
extern struct processor {
    uint64_t c_bit;                     /* as a mask */
    uint32_t asids, min_sev_asid;
    bool debug_swap;
} processor;
void read_processor(void);

/* The guest's page tables, written by the host: all memory one to one */
void guest_tables(uint8_t *mem, uint64_t cbit);

/* A machine without CPUs and with clear memory */
struct vm *vm_new_empty(enum type type);
/* All but the launch's end: registers are set, memory is still the host's */
struct vm *vm_new(enum type type, void (*fn)(void));
/* One more CPU of that machine, before its launch; it starts with fn(@id) */
struct vm *vm_add_cpu(struct vm *vm, int id, void (*fn)(uint64_t id), uint64_t stack);
int vm_sev(struct vm *vm, int cmd, void *data);
int vm_start(struct vm *vm, uint32_t policy);
int vm_update(struct vm *vm);
int vm_measure(struct vm *vm);
int vm_finish(struct vm *vm);
/* Launch from start to finish; the policy allows debugging */
struct vm *vm_launch(enum type type, void (*fn)(void));
/* Run until an exit to user space, one for missing memory too; gives its reason, -1 if there was none */
int vm_run(struct vm *vm);
volatile struct mailbox *vm_shared(struct vm *vm);
void vm_free(struct vm *vm);

/* /dev/sev, opened when first asked for */
int sev_device(void);
bool sev_close(void);

#endif

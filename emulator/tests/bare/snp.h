/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP as the host without an operating system has it: the reverse map
 * table, commands of the firmware, and guests.
 */
#ifndef SNP_H
#define SNP_H

#include "bare.h"

#define PAGE            4096ull
#define LARGE           0x200000ull

/*
 * Memory that is mapped by 4 KiB pages too, at small(): a write through the
 * host's large mapping faults if any page of the same 2 MiB is taken.
 */
#define TEST            0x8000000ull    /* 6 MiB to try things on */
#define SNP_PAGES       0x8600000ull    /* 2 MiB of a guest's and the firmware's */
#define GCTX            SNP_PAGES
#define OUTPUT          (SNP_PAGES + 0x1000)    /* a page of the firmware's */
#define VMSA_PAGE       (SNP_PAGES + 0x2000)
#define FREE_PAGES      (SNP_PAGES + 0x10000)
#define small(pa) ((uint8_t *)(0x1c0000000 + ((pa) - TEST)))

#define SNP_ASID        2
#define VMSA_GPA        0xfffffffff000ull
#define POLICY          (1ull << 19 | 1ull << 17 | 1ull << 16)  /* debugging; SMT */

/* An entry of the table, as Family 19h has it */
#define RMP_ASSIGNED    (1ull << 0)
#define RMP_2M          (1ull << 1)
#define RMP_IMMUTABLE   (1ull << 2)
#define RMP_ASID(n)     ((uint64_t)(n) << 51)
#define RMP_VMSA        (1ull << 61)
#define RMP_VALIDATED   (1ull << 62)

/* What RMPUPDATE is to make of a page */
#define ASSIGNED        1u
#define SIZE_2M         0x100u
#define IMMUTABLE       0x10000u
#define FIRMWARE_PAGE   (ASSIGNED | IMMUTABLE)

/* What the instructions return */
enum { FAIL_INPUT = 1, FAIL_PERMISSION, FAIL_INUSE, FAIL_OVERLAP, FAIL_SIZEMISMATCH = 6 };

/* Bits of a fault's error code */
#define P       (1ull << 0)
#define W       (1ull << 1)
#define U       (1ull << 2)
#define FETCH   (1ull << 4)
#define RMP     (1ull << 31)
#define FINAL   (1ull << 32)
#define WALK    (1ull << 33)
#define ENC     (1ull << 34)
#define SIZEM   (1ull << 35)
#define VMPL    (1ull << 36)

enum {
    CMD_PLATFORM_STATUS = 0x83, CMD_DF_FLUSH, CMD_INIT_EX, CMD_SHUTDOWN_EX, CMD_DECOMMISSION = 0x90,
    CMD_ACTIVATE, CMD_GUEST_STATUS, CMD_GCTX_CREATE, CMD_GUEST_REQUEST, CMD_LAUNCH_START = 0xa0,
    CMD_LAUNCH_UPDATE, CMD_LAUNCH_FINISH, CMD_DBG_DECRYPT = 0xb0, CMD_DBG_ENCRYPT,
    CMD_PAGE_RECLAIM = 0xc7, CMD_CONFIG = 0xc9, CMD_COMMIT = 0xcb, CMD_VLEK_LOAD = 0xcd,
    CMD_FEATURE_INFO,
};
/* Its statuses */
enum {
    ST_PLATFORM_STATE = 1, ST_GUEST_STATE, ST_CONFIG, ST_LEN, ST_POLICY = 7, ST_INACTIVE, ST_ADDRESS,
    ST_SIGNATURE, ST_ASID_OWNED = 0xc, ST_ASID, ST_DFFLUSH = 0xf, ST_GUEST, ST_COMMAND, ST_ACTIVE,
    ST_UNSUPPORTED = 0x15, ST_PARAM, ST_PAGE_SIZE = 0x19, ST_PAGE_STATE, ST_PAGE_OWNER = 0x1c,
};
enum { TYPE_NORMAL = 1, TYPE_VMSA, TYPE_ZERO, TYPE_UNMEASURED, TYPE_SECRETS, TYPE_CPUID };

#define MSR_HSAVE       0xc0010117
#define MSR_SYSCFG      0xc0010010
#define SYSCFG_MFDM     (1u << 19)
#define SYSCFG_SNP_EN   (1u << 24)
#define SYSCFG_VMPL_EN  (1u << 25)
#define MSR_RMP_BASE    0xc0010132
#define MSR_RMP_END     0xc0010133

/* Has this processor SEV-SNP? */
bool snp_there(void);
/* Make the tables of the small mapping */
void snp_map(void);
uint32_t snp_init(uint32_t flags, uint64_t list);
/* Give the firmware GCTX and OUTPUT */
void snp_pages(void);

uint32_t rmpupdate(uint64_t pa, uint64_t gpa, uint32_t bits, uint32_t asid);
uint32_t psmash(uint64_t pa);
/* The first word of a page's entry */
uint64_t rmp(uint64_t pa);

/* A command with words of 64 bits, or of 32; gives its status */
uint32_t snp_command(uint32_t command, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* The host writes, or reads, a byte at @va: what the page fault told, 0 if there was none */
uint64_t host_writes(void *va);
uint64_t host_reads(void *va);

/* ---- guests ---- */

/* Launch the guest of guest_new(), whose VMSA is still clear; or in steps, with other pages in between */
void snp_launch(void);
/* GCTX_CREATE to ACTIVATE, no page yet */
void snp_start(void);
/* From there on with this program, 4 MiB of it; permissions of VMPL 1, of VMPL 2 eight bits further */
void snp_begin(uint32_t perms);
void snp_add(uint64_t gpa, uint32_t perms);
void snp_end(void);
/* The guest is no more, and its ASID is free; take back its pages, too */
bool snp_decommission(void);
void snp_forget(void);
uint32_t snp_update(uint64_t pa, int type, bool large, uint32_t perms);
uint32_t snp_finish(void);
/* Give the running guest the page at its @gpa, not validated */
void snp_give(uint64_t gpa, uint32_t bits);
/* Take back whatever is taken between @from and @to */
void snp_take(uint64_t from, uint64_t to);

/* Map the 2 MiB at @gpa by small pages */
void snp_split(uint64_t gpa);
/* A nested page fault with @info at @gpa ends the run */
bool snp_faults(uint64_t info, uint64_t gpa);

static inline GUEST uint32_t pvalidate(uint64_t va, int large, int on, bool *unchanged)
{
    uint32_t status;
    bool cf;

    asm volatile(".byte 0xf2, 0x0f, 0x01, 0xff" : "=a"(status), "=@ccc"(cf)
                 : "a"(va), "c"(large), "d"(on) : "memory");
    if (unchanged) {
        *unchanged = cf;
    }
    return status;
}

#define MAKE_VMSA       (1u << 16)

static inline GUEST uint32_t rmpadjust(uint64_t va, int large, int vmpl, int perms, uint64_t more)
{
    uint32_t status;

    asm volatile(".byte 0xf3, 0x0f, 0x01, 0xfe" : "=a"(status)
                 : "a"(va), "c"(large), "d"(vmpl | (uint64_t)perms << 8 | more) : "memory", "cc");
    return status;
}

extern const struct bare_test no_snp_tests[], rmp_tests[], snp_firmware_tests[], snp_guest_tests[],
                              snp_fault_tests[], vmpl_tests[], snp_vmrun_tests[];

#endif

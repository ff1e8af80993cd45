/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The little of instruction decoding that an intercept needs: length for nRIP
 * and RIP, operands for the decode assists.
 */
#include "qemu/osdep.h"
#include "cpu.h"
#include "compat.h"
#include "insn.h"

int sev_insn_peek(CPUX86State *env, uint8_t *buf, int max)
{
    int mmu_idx = cpu_mmu_index(env_cpu(env), true);
    target_ulong pc = env->eip + env->segs[R_CS].base;
    int i = 0;

    if (!(env->hflags & HF_CS64_MASK)) {
        pc = (uint32_t)pc;
    }
    while (i < max) {
        void *host;
        target_ulong a = pc + i;
        int n = MIN(max - i, -(a | TARGET_PAGE_MASK));
        int flags = probe_access_flags(env, a, 0, MMU_INST_FETCH, mmu_idx, true, &host, 0);

        if ((flags & TLB_INVALID_MASK) || !host) {
            break;
        }
        memcpy(buf + i, host, n);
        i += n;
    }
    return i;
}

/* One byte, with the faults of a fetch */
static uint8_t fetch(CPUX86State *env, int i)
{
    target_ulong pc = env->eip + env->segs[R_CS].base + i;

    return cpu_ldub_code(env, env->hflags & HF_CS64_MASK ? pc : (uint32_t)pc);
}

static int64_t fetch_disp(CPUX86State *env, int i, int size)
{
    uint32_t v = 0;
    int j;

    for (j = 0; j < size; j++) {
        v |= (uint32_t)fetch(env, i + j) << (8 * j);
    }
    return size == 1 ? (int8_t)v : size == 2 ? (int16_t)v : (int32_t)v;
}

typedef struct Prefixes {
    int asize;                  /* address size in bits */
    int osize;                  /* of a displacement, in bytes */
    int seg;                    /* override, or -1 */
    uint8_t rex;
} Prefixes;

/* Length of the ModRM byte at @i and what follows; linear address to @ea */
static int modrm(CPUX86State *env, int i, const Prefixes *p, int tail, uint64_t *ea)
{
    uint8_t m = fetch(env, i);
    int mod = m >> 6, rm = m & 7, len = 1, seg = R_DS, disp = 0;
    uint64_t a = 0;

    if (mod == 3) {
        return 1;
    }
    if (p->asize == 16) {
        static const int8_t base[] = { R_EBX, R_EBX, R_EBP, R_EBP, R_ESI, R_EDI, R_EBP, R_EBX };
        static const int8_t index[] = { R_ESI, R_EDI, R_ESI, R_EDI };

        disp = mod == 0 ? (rm == 6 ? 2 : 0) : mod;
        if (mod || rm != 6) {
            a = env->regs[base[rm]] + (rm < 4 ? env->regs[index[rm]] : 0);
            seg = base[rm] == R_EBP ? R_SS : R_DS;
        }
        a = (uint16_t)(a + fetch_disp(env, i + 1, disp));
        len += disp;
    } else {
        bool none = mod == 0 && rm == 5;
        int base = rm | (p->rex & 1) << 3;

        disp = mod == 1 ? 1 : mod == 2 || none ? 4 : 0;
        if (rm == 4) {
            uint8_t sib = fetch(env, i + 1);
            int index = ((sib >> 3) & 7) | (p->rex & 2) << 2;

            len++;
            base = (sib & 7) | (p->rex & 1) << 3;
            if (index != R_ESP) {
                a = (uint64_t)env->regs[index] << (sib >> 6);
            }
            if (mod == 0 && (sib & 7) == 5) {
                none = true;
                disp = 4;
            }
        }
        if (!none) {
            a += env->regs[base];
            seg = base == R_ESP || base == R_EBP ? R_SS : R_DS;
        }
        a += fetch_disp(env, i + len, disp);
        len += disp;
        if (mod == 0 && rm == 5 && (env->hflags & HF_CS64_MASK)) {
            a += env->eip + i + len + tail;
        }
        if (p->asize == 32) {
            a = (uint32_t)a;
        }
    }
    if (p->seg >= 0) {
        seg = p->seg;
    }
    if (!(env->hflags & HF_CS64_MASK)) {
        a = (uint32_t)(a + env->segs[seg].base);
    } else if (seg == R_FS || seg == R_GS) {
        a += env->segs[seg].base;
    }
    *ea = a;
    return len;
}

/* Prefixes to @p and @in; returns how many bytes, the opcode's first to @op */
static int prefixes(CPUX86State *env, Prefixes *p, SevInsn *in, uint8_t *op)
{
    static const int8_t segs[] = { R_ES, R_CS, R_SS, R_DS };
    bool cs64 = env->hflags & HF_CS64_MASK;
    int i;

    for (i = 0; i < 14; i++) {
        *op = fetch(env, i);
        switch (*op) {
        case 0xf2: case 0xf3:
            in->rep = true;
            break;
        case 0x67:
            p->asize = p->asize == 32 ? (cs64 ? 64 : 16) : 32;
            break;
        case 0x26: case 0x2e: case 0x36: case 0x3e:
            p->seg = cs64 ? p->seg : segs[(*op >> 3) & 3];
            break;
        case 0x64: case 0x65:
            p->seg = R_FS + (*op & 1);
            break;
        case 0x66:
            p->osize = cs64 || !(env->hflags & HF_CS32_MASK) ? 4 : 2;
            break;
        case 0xf0:
            break;
        case 0x40 ... 0x4f:
            if (cs64) {
                p->rex = *op;
                *op = fetch(env, ++i);
            }
            return i;
        default:
            return i;
        }
    }
    return i;
}

void sev_insn_decode(CPUX86State *env, SevInsn *in)
{
    Prefixes p = {
        .asize = env->hflags & HF_CS64_MASK ? 64 :
                 env->hflags & HF_CS32_MASK ? 32 : 16,
        .osize = env->hflags & (HF_CS64_MASK | HF_CS32_MASK) ? 4 : 2,
        .seg = -1,
    };
    uint8_t op;
    int i;

    *in = (SevInsn) { .gpr = -1, .vector = -1 };
    i = prefixes(env, &p, in, &op) + 1;

    switch (op) {
    case 0x0f:
        op = fetch(env, i++);
        switch (op) {
        case 0x00: case 0x01:
            in->len = i + modrm(env, i, &p, 0, &in->ea);
            break;
        case 0x05: case 0x07: case 0x34: case 0x35:     /* SYSCALL, SYSENTER */
        case 0xaa:
            in->branch = true;
            /* fall through */
        case 0x06: case 0x08: case 0x09: case 0x30 ... 0x33: case 0xa2:
            in->len = i;
            break;
        case 0x80 ... 0x8f:
            in->branch = in->conditional = true;
            in->len = i + p.osize;
            break;
        case 0x20 ... 0x23:
            in->gpr = (fetch(env, i) & 7) | (p.rex & 1) << 3;
            in->len = i + 1;
            break;
        case 0x38:
            if (fetch(env, i++) == 0x82) {      /* INVPCID */
                in->len = i + modrm(env, i, &p, 0, &in->ea);
            }
            break;
        }
        break;
    case 0x6c ... 0x6f: case 0x90: case 0x9c: case 0x9d:
    case 0xcc: case 0xce: case 0xec ... 0xef: case 0xf1: case 0xf4:
        in->len = i;
        break;
    case 0x70 ... 0x7f: case 0xe0 ... 0xe3:
        in->branch = in->conditional = true;
        in->len = i + 1;
        break;
    case 0x9a: case 0xc2: case 0xc3: case 0xca: case 0xcb: case 0xcf:
    case 0xe8 ... 0xeb:
        in->branch = true;
        in->len = op == 0xcf ? i : 0;
        break;
    case 0xff:
        op = (fetch(env, i) >> 3) & 7;
        in->branch = op >= 2 && op <= 5;        /* CALL, JMP */
        break;
    case 0xcd:
        in->vector = fetch(env, i);
        /* fall through */
    case 0xe4 ... 0xe7:
        in->len = i + 1;
        break;
    }
}

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * CPU registers from and to a VM save area.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "cpu.h"
#include "compat.h"
#include "vmsa.h"

typedef struct Reg {
    uint16_t sa, sa_size;               /* in the save area */
    uint32_t env, env_size;             /* in CPU state */
} Reg;

#define REG(sa, size, field) \
    { sa, size, offsetof(CPUX86State, field), sizeof_field(CPUX86State, field) }

static const Reg type_b[] = {
    REG(0x140, 8, xss), REG(0x200, 8, star), REG(0x208, 8, lstar),
    REG(0x210, 8, cstar), REG(0x218, 8, fmask), REG(0x220, 8, kernelgsbase),
    REG(0x228, 8, sysenter_cs), REG(0x230, 8, sysenter_esp),
    REG(0x238, 8, sysenter_eip), REG(0x2e8, 4, pkru), REG(0x2ec, 4, tsc_aux),
    REG(0x308, 8, regs[1]), REG(0x310, 8, regs[2]), REG(0x318, 8, regs[3]),
    REG(0x328, 8, regs[5]), REG(0x330, 8, regs[6]), REG(0x338, 8, regs[7]),
    REG(0x340, 8, regs[8]), REG(0x348, 8, regs[9]), REG(0x350, 8, regs[10]),
    REG(0x358, 8, regs[11]), REG(0x360, 8, regs[12]), REG(0x368, 8, regs[13]),
    REG(0x370, 8, regs[14]), REG(0x378, 8, regs[15]), REG(0x3e8, 8, xcr0),
};

static const Reg x87[] = {
    REG(0x400, 8, fpdp), REG(0x408, 4, mxcsr), REG(0x40e, 2, fpus),
    REG(0x410, 2, fpuc), REG(0x412, 2, fpop), REG(0x414, 2, fpds),
    REG(0x416, 2, fpcs), REG(0x418, 8, fpip),
};

static void move(uint8_t *sa, int sa_size, void *reg, int size, bool load)
{
    if (load) {
        stn_he_p(reg, size, ldn_le_p(sa, sa_size));
    } else {
        stn_le_p(sa, sa_size, ldn_he_p(reg, size));
    }
}

static void move_all(CPUX86State *env, uint8_t *sa, const Reg *r, int n, bool load)
{
    for (; n--; r++) {
        move(sa + r->sa, r->sa_size, (char *)env + r->env, r->env_size, load);
    }
}

static void move_seg(uint8_t *p, SegmentCache *sc, bool load)
{
    uint16_t attr = ((sc->flags >> 8) & 0xff) | ((sc->flags >> 12) & 0x0f00);

    move(p, 2, &sc->selector, sizeof(sc->selector), load);
    move(p + 2, 2, &attr, sizeof(attr), load);
    move(p + 4, 4, &sc->limit, sizeof(sc->limit), load);
    move(p + 8, 8, &sc->base, sizeof(sc->base), load);
    if (load) {
        sc->flags = (attr & 0xff) << 8 | (attr & 0x0f00) << 12;
    }
}

void sev_move_type_b(CPUX86State *env, uint8_t *sa, bool debug_swap, bool load)
{
    int i;

    move_seg(sa + SA_FS, &env->segs[R_FS], load);
    move_seg(sa + SA_GS, &env->segs[R_GS], load);
    move_seg(sa + SA_LDTR, &env->ldt, load);
    move_seg(sa + SA_TR, &env->tr, load);
    move_all(env, sa, type_b, ARRAY_SIZE(type_b), load);
    if (debug_swap && load) {
        /* Take the breakpoints out before their addresses change */
        cpu_x86_update_dr7(env, DR7_FIXED_1);
    }
    for (i = 0; i < 4 && debug_swap; i++) {
        move(sa + SA_DR0 + 8 * i, 8, &env->dr[i], 8, load);
    }
    env->xcr0 |= XSTATE_FP_MASK;
    cpu_sync_avx_hflag(env);
}

void sev_move_fpu(CPUX86State *env, uint8_t *sa, bool load)
{
    uint8_t tags = load ? sa[SA_FTW] : 0;
    int i, j;

    /* CPU state keeps TOP apart from the status word */
    env->fpus = (env->fpus & ~0x3800) | env->fpstt << 11;
    update_mxcsr_from_sse_status(env);
    move_all(env, sa, x87, ARRAY_SIZE(x87), load);
    env->fpstt = (env->fpus >> 11) & 7;
    env->fpus &= ~0x3800;
    cpu_set_fpuc(env, env->fpuc);
    cpu_set_mxcsr(env, env->mxcsr);
    for (i = 0; i < 8; i++) {
        floatx80 *f = &env->fpregs[(env->fpstt + i) & 7].d;

        /* Abridged tag word: by physical register, 1 is not empty */
        if (load) {
            env->fptags[i] = !((tags >> i) & 1);
        }
        tags |= !env->fptags[i] << i;
        move(sa + SA_X87 + 8 * i, 8, &f->low, 8, load);
        move(sa + SA_X87 + 64 + 2 * i, 2, &f->high, 2, load);
    }
    sa[SA_FTW] = tags;
    for (i = 0; i < 16; i++) {
        for (j = 0; j < 4; j++) {
            move(sa + (j < 2 ? SA_XMM : SA_YMM - 16) + 16 * i + 8 * j, 8,
                 &env->xmm_regs[i].ZMM_Q(j), 8, load);
        }
    }
}

void sev_reset_fpu(CPUX86State *env)
{
    helper_fninit(env);
    env->fpop = 0;
    cpu_set_mxcsr(env, 0x1f80);
    memset(env->fpregs, 0, sizeof(env->fpregs));
    memset(env->xmm_regs, 0, sizeof(env->xmm_regs));
}

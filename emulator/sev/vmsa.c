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

#define REG(sa, field) { sa, offsetof(CPUX86State, field) }

static const struct {
    uint16_t sa;
    uint32_t env;
} type_b[] = {
    REG(SA_STAR, star), REG(SA_LSTAR, lstar), REG(SA_CSTAR, cstar),
    REG(SA_SFMASK, fmask), REG(SA_KERNEL_GS_BASE, kernelgsbase),
    REG(SA_SYSENTER_ESP, sysenter_esp), REG(SA_SYSENTER_EIP, sysenter_eip),
    REG(SA_XSS, xss),
    REG(SA_GPR + 0x08, regs[1]), REG(SA_GPR + 0x10, regs[2]),
    REG(SA_GPR + 0x18, regs[3]), REG(SA_GPR + 0x28, regs[5]),
    REG(SA_GPR + 0x30, regs[6]), REG(SA_GPR + 0x38, regs[7]),
    REG(SA_GPR + 0x40, regs[8]), REG(SA_GPR + 0x48, regs[9]),
    REG(SA_GPR + 0x50, regs[10]), REG(SA_GPR + 0x58, regs[11]),
    REG(SA_GPR + 0x60, regs[12]), REG(SA_GPR + 0x68, regs[13]),
    REG(SA_GPR + 0x70, regs[14]), REG(SA_GPR + 0x78, regs[15]),
};

QEMU_BUILD_BUG_ON(sizeof_field(CPUX86State, star) != 8);
QEMU_BUILD_BUG_ON(sizeof_field(CPUX86State, xss) != 8);
QEMU_BUILD_BUG_ON(sizeof_field(CPUX86State, sysenter_eip) != 8);

static uint64_t *reg64(CPUX86State *env, int i)
{
    return (uint64_t *)((char *)env + type_b[i].env);
}

static void load_seg(const uint8_t *p, SegmentCache *sc)
{
    unsigned flags = lduw_le_p(p + 2);

    sc->selector = lduw_le_p(p);
    sc->limit = ldl_le_p(p + 4);
    sc->base = ldq_le_p(p + 8);
    sc->flags = ((flags & 0xff) << 8) | ((flags & 0x0f00) << 12);
}

static void save_seg(uint8_t *p, const SegmentCache *sc)
{
    stw_le_p(p, sc->selector);
    stw_le_p(p + 2, ((sc->flags >> 8) & 0xff) | ((sc->flags >> 12) & 0x0f00));
    stl_le_p(p + 4, sc->limit);
    stq_le_p(p + 8, sc->base);
}

void sev_load_type_b(CPUX86State *env, const uint8_t *sa, bool debug_swap)
{
    SegmentCache sc;
    int i;

    load_seg(sa + SA_FS, &sc);
    cpu_x86_load_seg_cache(env, R_FS, sc.selector, sc.base, sc.limit, sc.flags);
    load_seg(sa + SA_GS, &sc);
    cpu_x86_load_seg_cache(env, R_GS, sc.selector, sc.base, sc.limit, sc.flags);
    load_seg(sa + SA_TR, &env->tr);
    load_seg(sa + SA_LDTR, &env->ldt);
    for (i = 0; i < ARRAY_SIZE(type_b); i++) {
        *reg64(env, i) = ldq_le_p(sa + type_b[i].sa);
    }
    env->sysenter_cs = ldq_le_p(sa + SA_SYSENTER_CS);
    env->pkru = ldl_le_p(sa + SA_PKRU);
    env->tsc_aux = ldl_le_p(sa + SA_TSC_AUX);
    env->xcr0 = ldq_le_p(sa + SA_XCR0) | XSTATE_FP_MASK;
    cpu_sync_avx_hflag(env);
    if (debug_swap) {
        /* Take the breakpoints out before their addresses change */
        cpu_x86_update_dr7(env, DR7_FIXED_1);
        for (i = 0; i < 4; i++) {
            env->dr[i] = ldq_le_p(sa + SA_DR0 + 8 * i);
        }
    }
}

void sev_save_type_b(CPUX86State *env, uint8_t *sa, bool debug_swap)
{
    int i;

    save_seg(sa + SA_FS, &env->segs[R_FS]);
    save_seg(sa + SA_GS, &env->segs[R_GS]);
    save_seg(sa + SA_TR, &env->tr);
    save_seg(sa + SA_LDTR, &env->ldt);
    for (i = 0; i < ARRAY_SIZE(type_b); i++) {
        stq_le_p(sa + type_b[i].sa, *reg64(env, i));
    }
    stq_le_p(sa + SA_SYSENTER_CS, env->sysenter_cs);
    stl_le_p(sa + SA_PKRU, env->pkru);
    stl_le_p(sa + SA_TSC_AUX, env->tsc_aux);
    stq_le_p(sa + SA_XCR0, env->xcr0);
    for (i = 0; i < 4 && debug_swap; i++) {
        stq_le_p(sa + SA_DR0 + 8 * i, env->dr[i]);
    }
}

void sev_load_fpu(CPUX86State *env, const uint8_t *sa)
{
    uint16_t fsw = lduw_le_p(sa + SA_FSW);
    int i, j;

    env->fpstt = (fsw >> 11) & 7;
    env->fpus = fsw & ~0xb800;
    cpu_set_fpuc(env, lduw_le_p(sa + SA_FCW));
    env->fpop = lduw_le_p(sa + SA_FOP);
    env->fpds = lduw_le_p(sa + SA_FDS);
    env->fpcs = lduw_le_p(sa + SA_FCS);
    env->fpdp = ldq_le_p(sa + SA_FDP);
    env->fpip = ldq_le_p(sa + SA_FIP);
    cpu_set_mxcsr(env, ldl_le_p(sa + SA_MXCSR));
    for (i = 0; i < 8; i++) {
        floatx80 *f = &env->fpregs[(env->fpstt + i) & 7].d;

        /* Abridged tag word: by physical register, 1 is not empty */
        env->fptags[i] = !((sa[SA_FTW] >> i) & 1);
        f->low = ldq_le_p(sa + SA_X87 + 8 * i);
        f->high = lduw_le_p(sa + SA_X87 + 64 + 2 * i);
    }
    for (i = 0; i < 16; i++) {
        for (j = 0; j < 2; j++) {
            env->xmm_regs[i].ZMM_Q(j) = ldq_le_p(sa + SA_XMM + 16 * i + 8 * j);
            env->xmm_regs[i].ZMM_Q(2 + j) =
                ldq_le_p(sa + SA_YMM + 16 * i + 8 * j);
        }
    }
}

void sev_save_fpu(CPUX86State *env, uint8_t *sa)
{
    int i, j;

    stw_le_p(sa + SA_FTW, 0);
    for (i = 0; i < 8; i++) {
        floatx80 *f = &env->fpregs[(env->fpstt + i) & 7].d;

        sa[SA_FTW] |= !env->fptags[i] << i;
        stq_le_p(sa + SA_X87 + 8 * i, f->low);
        stw_le_p(sa + SA_X87 + 64 + 2 * i, f->high);
    }
    stw_le_p(sa + SA_FSW, (env->fpus & ~0x3800) | env->fpstt << 11);
    stw_le_p(sa + SA_FCW, env->fpuc);
    stw_le_p(sa + SA_FOP, env->fpop);
    stw_le_p(sa + SA_FDS, env->fpds);
    stw_le_p(sa + SA_FCS, env->fpcs);
    stq_le_p(sa + SA_FDP, env->fpdp);
    stq_le_p(sa + SA_FIP, env->fpip);
    update_mxcsr_from_sse_status(env);
    stl_le_p(sa + SA_MXCSR, env->mxcsr);
    for (i = 0; i < 16; i++) {
        for (j = 0; j < 2; j++) {
            stq_le_p(sa + SA_XMM + 16 * i + 8 * j, env->xmm_regs[i].ZMM_Q(j));
            stq_le_p(sa + SA_YMM + 16 * i + 8 * j,
                     env->xmm_regs[i].ZMM_Q(2 + j));
        }
    }
}

void sev_reset_fpu(CPUX86State *env)
{
    env->fpstt = 0;
    env->fpus = 0;
    env->fpop = env->fpds = env->fpcs = 0;
    env->fpdp = env->fpip = 0;
    cpu_set_fpuc(env, 0x37f);
    cpu_set_mxcsr(env, 0x1f80);
    memset(env->fptags, 1, sizeof(env->fptags));
    memset(env->fpregs, 0, sizeof(env->fpregs));
    memset(env->xmm_regs, 0, sizeof(env->xmm_regs));
}

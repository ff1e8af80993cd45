/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The VM save area of an SEV-ES guest, and what of it swaps in which way:
 * type A with VMRUN's and #VMEXIT's own code, type B and C here.
 */
#ifndef I386_TCG_SEV_VMSA_H
#define I386_TCG_SEV_VMSA_H

#define SA_FS                   0x040
#define SA_GS                   0x050
#define SA_LDTR                 0x070
#define SA_TR                   0x090
#define SA_CPL                  0x0cb
#define SA_XSS                  0x140
#define SA_DR0                  0x180
#define SA_STAR                 0x200
#define SA_LSTAR                0x208
#define SA_CSTAR                0x210
#define SA_SFMASK               0x218
#define SA_KERNEL_GS_BASE       0x220
#define SA_SYSENTER_CS          0x228
#define SA_SYSENTER_ESP         0x230
#define SA_SYSENTER_EIP         0x238
#define SA_G_PAT                0x268
#define SA_PKRU                 0x2e8
#define SA_TSC_AUX              0x2ec
#define SA_GPR                  0x300   /* + 8 * register; RAX, RSP are not */
#define SA_SEV_FEATURES         0x3b0
#define SA_XCR0                 0x3e8
#define SA_FDP                  0x400
#define SA_MXCSR                0x408
#define SA_FTW                  0x40c
#define SA_FSW                  0x40e
#define SA_FCW                  0x410
#define SA_FOP                  0x412
#define SA_FDS                  0x414
#define SA_FCS                  0x416
#define SA_FIP                  0x418
#define SA_X87                  0x420   /* 8 mantissas, then 8 exponents */
#define SA_XMM                  0x470
#define SA_YMM                  0x570
#define SA_USED                 0x670

#define SEV_FEATURE_DEBUG_SWAP  (1ull << 5)

/* Type B: loaded by VMRUN and by #VMEXIT, saved for the guest alone */
void sev_load_type_b(CPUX86State *env, const uint8_t *sa, bool debug_swap);
void sev_save_type_b(CPUX86State *env, uint8_t *sa, bool debug_swap);
/* Type C: the guest's are loaded and saved, the host gets reset values */
void sev_load_fpu(CPUX86State *env, const uint8_t *sa);
void sev_save_fpu(CPUX86State *env, uint8_t *sa);
void sev_reset_fpu(CPUX86State *env);

#endif

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The VM save area of an SEV-ES guest (APM volume 2, struct sev_es_save_area of
 * Linux), and what of it changes over in which way: type A with VMRUN's and
 * #VMEXIT's own code, type B and C here.
 */
#ifndef I386_TCG_SEV_VMSA_H
#define I386_TCG_SEV_VMSA_H

/* Offsets in bytes */
#define SA_FS                   0x040
#define SA_GS                   0x050
#define SA_LDTR                 0x070
#define SA_TR                   0x090
#define SA_VMPL                 0x0ca
#define SA_DR0                  0x180
#define SA_G_PAT                0x268
#define SA_SEV_FEATURES         0x3b0
#define SA_FTW                  0x40c
#define SA_X87                  0x420   /* 8 mantissas, then 8 exponents */
#define SA_XMM                  0x470
#define SA_YMM                  0x570
#define SA_USED                 0x670

/* SEV_FEATURES */
#define SEV_FEATURE_SNP_ACTIVE  (1ull << 0)
#define SEV_FEATURE_DEBUG_SWAP  (1ull << 5)

/*
 * Type B: @load from the save area @sa, of the guest by VMRUN and of the host by
 * #VMEXIT; or save to it, the guest's alone.  With @debug_swap, DR0 to DR3 too.
 */
void sev_move_type_b(CPUX86State *env, uint8_t *sa, bool debug_swap, bool load);
/* Type C: the guest's are loaded and saved, the host gets reset values */
void sev_move_fpu(CPUX86State *env, uint8_t *sa, bool load);
void sev_reset_fpu(CPUX86State *env);

#endif

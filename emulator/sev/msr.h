/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bits of the MSRs that SEV and SEV-SNP are turned on by.
 */
#ifndef I386_TCG_SEV_MSR_H
#define I386_TCG_SEV_MSR_H

/* MSR C001_0010 (APM volume 2) */
#define SYSCFG_MFDM             (1u << 19)
#define SYSCFG_MEM_ENCRYPT      (1u << 23)
#define SYSCFG_SNP_EN           (1u << 24)
#define SYSCFG_VMPL_EN          (1u << 25)
/* What SNP_INIT_EX wants to see on every CPU (SNP ABI) */
#define SYSCFG_SNP_READY        (SYSCFG_MFDM | SYSCFG_SNP_EN | SYSCFG_VMPL_EN)

/* Is the processor's model (properties x-sev-...) one that can be? */
bool sev_tcg_check_model(Error **errp);

#endif

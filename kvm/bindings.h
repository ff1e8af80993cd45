/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C headers that bindgen reads: KVM's private structures, and the kernel's livepatch interface.
 *
 * Lines that begin with "// bindgen:" are options for bindgen.
 */
// bindgen: --allowlist-type vcpu_svm --allowlist-type kvm_svm
// bindgen: --allowlist-type klp_patch --allowlist-type klp_object --allowlist-type klp_func
// bindgen: --allowlist-type module --allowlist-type tracepoint --allowlist-type srcu_struct
// bindgen: --allowlist-type ftrace_ops --allowlist-type srcu_ctr --allowlist-type ghcb
// bindgen: --allowlist-type psc_hdr --allowlist-type psc_entry
// bindgen: --allowlist-var 'KVM_EXIT_.*' --allowlist-var KVM_SYSTEM_EVENT_SEV_TERM
// bindgen: --allowlist-var '__VCPU_REGS_.*' --allowlist-var 'SVM_EXIT_.*' --allowlist-var 'GHCB_.*'
// bindgen: --allowlist-var tracepoint_srcu --allowlist-var MSR_IA32_XSS --opaque-type 'xen_.*' --opaque-type 'drm_.*' --opaque-type net
#include <linux/kvm_host.h>
#include <linux/ftrace.h>
#include <linux/livepatch.h>
#include <linux/srcu.h>
#include <linux/tracepoint.h>
#include "svm/svm.h"
#include "abi_proof.h"

/* Macros that bindgen cannot evaluate; the first of them holds a statement expression. */
#undef KVM_ARCH_REQ_FLAGS
#define KVM_ARCH_REQ_FLAGS(nr, flags) ((nr) + KVM_REQUEST_ARCH_BASE)
enum {
	GHCB_RS_KVM_REQ_EVENT		= KVM_REQ_EVENT,
	GHCB_RS_SNP_ACTIVE		= SVM_SEV_FEAT_SNP_ACTIVE,
	GHCB_RS_MOD_RODATA		= MOD_RODATA,
	GHCB_RS_MEMSLOT_INVALID		= KVM_MEMSLOT_INVALID,
	GHCB_RS_MEM_READONLY		= KVM_MEM_READONLY,
	GHCB_RS_MEM_LOG_DIRTY_PAGES	= KVM_MEM_LOG_DIRTY_PAGES,
};

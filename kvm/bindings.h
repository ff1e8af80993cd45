/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C headers that bindgen reads: KVM's private structures, and the kernel's livepatch interface.
 *
 * Lines that begin with "// bindgen:" are options for bindgen.
 */
// bindgen: --allowlist-type vcpu_svm --allowlist-type kvm_svm --allowlist-type kvm_lapic
// bindgen: --allowlist-type klp_patch --allowlist-type klp_object --allowlist-type klp_func
// bindgen: --allowlist-type module --allowlist-type tracepoint --allowlist-type srcu_struct
// bindgen: --allowlist-type ftrace_ops --allowlist-type srcu_ctr --allowlist-type ghcb
// bindgen: --allowlist-type psc_hdr --allowlist-type psc_entry --allowlist-type sev_data_snp_guest_request
// bindgen: --allowlist-var 'KVM_EXIT_.*' --allowlist-var KVM_SYSTEM_EVENT_SEV_TERM
// bindgen: --allowlist-var '__VCPU_REGS_.*' --allowlist-var 'SVM_EXIT_.*' --allowlist-var 'GHCB_.*'
// bindgen: --allowlist-var ftrace_enabled --allowlist-var vmlinux_build_id
// bindgen: --allowlist-var tracepoint_srcu --allowlist-var MSR_IA32_XSS --opaque-type 'xen_.*' --opaque-type 'drm_.*' --opaque-type net
// bindgen: --opaque-type 'ns_common.*'
#include <linux/buildid.h>
#include <linux/kvm_host.h>
#include <linux/ftrace.h>
#include <linux/livepatch.h>
#include <linux/psp-sev.h>
#include <linux/srcu.h>
#include <linux/tracepoint.h>
#include "lapic.h"
#include "svm/svm.h"
#include "abi_proof.h"

/* Macros that bindgen cannot evaluate; the first of them holds a statement expression. */
#undef KVM_ARCH_REQ_FLAGS
#define KVM_ARCH_REQ_FLAGS(nr, flags) ((nr) + KVM_REQUEST_ARCH_BASE)
enum {
	GHCB_RS_KVM_REQ_EVENT		= KVM_REQ_EVENT,
	GHCB_RS_KVM_REQ_UPDATE_PROTECTED_GUEST_STATE = KVM_REQ_UPDATE_PROTECTED_GUEST_STATE,
	GHCB_RS_KVM_APIC_INIT		= KVM_APIC_INIT,
	GHCB_RS_KVM_APIC_SIPI		= KVM_APIC_SIPI,
	GHCB_RS_KVM_MP_STATE_UNINITIALIZED = KVM_MP_STATE_UNINITIALIZED,
	GHCB_RS_KVM_MP_STATE_INIT_RECEIVED = KVM_MP_STATE_INIT_RECEIVED,
	GHCB_RS_KVM_HC_MAP_GPA_RANGE	= KVM_HC_MAP_GPA_RANGE,
	GHCB_RS_KVM_MAP_GPA_RANGE_ENCRYPTED = KVM_MAP_GPA_RANGE_ENCRYPTED,
	GHCB_RS_KVM_MAP_GPA_RANGE_DECRYPTED = KVM_MAP_GPA_RANGE_DECRYPTED,
	GHCB_RS_KVM_MAP_GPA_RANGE_PAGE_SZ_4K = KVM_MAP_GPA_RANGE_PAGE_SZ_4K,
	GHCB_RS_KVM_MAP_GPA_RANGE_PAGE_SZ_2M = KVM_MAP_GPA_RANGE_PAGE_SZ_2M,
	GHCB_RS_SEV_CMD_SNP_GUEST_REQUEST = SEV_CMD_SNP_GUEST_REQUEST,
	GHCB_RS_EAGAIN			= EAGAIN,
	GHCB_RS_EINVAL			= EINVAL,
	GHCB_RS_EIO			= EIO,
	GHCB_RS_ENOSPC			= ENOSPC,
	GHCB_RS_SNP_ACTIVE		= SVM_SEV_FEAT_SNP_ACTIVE,
	GHCB_RS_MOD_RODATA		= MOD_RODATA,
	GHCB_RS_FTRACE_OPS_FL_PERMANENT	= FTRACE_OPS_FL_PERMANENT,
	GHCB_RS_MEMSLOT_INVALID		= KVM_MEMSLOT_INVALID,
	GHCB_RS_MEM_READONLY		= KVM_MEM_READONLY,
	GHCB_RS_MEM_LOG_DIRTY_PAGES	= KVM_MEM_LOG_DIRTY_PAGES,
};

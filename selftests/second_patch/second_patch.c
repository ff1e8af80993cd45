// SPDX-License-Identifier: GPL-2.0
/*
 * Another livepatch of kvm_amd, for tests of how ghcb_rs gets along with one. Guests get no replies from it: load it
 * beside guests of the tests alone.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/string.h>

static char *function = "sev_guest_memory_reclaimed";
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "Function of kvm_amd that is replaced by one that does nothing");

static bool replace;
module_param(replace, bool, 0444);
MODULE_PARM_DESC(replace, "Take the place of all other livepatches");

static unsigned long calls;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "How often the replacement was called");

/* The guest runs on, as after an exit that the kernel has handled. */
static int nothing(void *unused)
{
	WRITE_ONCE(calls, READ_ONCE(calls) + 1);
	return 1;
}

static struct klp_func functions[] = {
	{ .new_func = nothing },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "kvm_amd", .funcs = functions },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init second_patch_init(void)
{
	functions[0].old_name = function;
	patch.replace = replace;
	return klp_enable_patch(&patch);
}

static void __exit second_patch_exit(void)
{
}

module_init(second_patch_init);
module_exit(second_patch_exit);
MODULE_DESCRIPTION("A second livepatch of kvm_amd, for tests");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");

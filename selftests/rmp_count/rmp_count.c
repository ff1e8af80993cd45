// SPDX-License-Identifier: GPL-2.0
/*
 * How many pages of the host belong to guests or to the secure processor, by the reverse map table: what a test that has
 * ended must have given back. Nothing else tells of a page that was left assigned until somebody writes to it.
 */
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <asm/sev.h>

static unsigned long assigned_pages(unsigned long pfn, unsigned long end)
{
	unsigned long count = 0;

	for (; pfn < end; pfn++) {
		bool assigned = false;
		int level;

		/* Fails for what lies outside of the table, and has no owner then. */
		if (!snp_lookup_rmpentry(pfn, &assigned, &level) && assigned)
			count++;
		cond_resched();
	}
	return count;
}

static int get_assigned(char *buffer, const struct kernel_param *parameter)
{
	unsigned long count = 0;
	int node;

	for_each_online_node(node)
		count += assigned_pages(node_start_pfn(node), node_end_pfn(node));
	return sysfs_emit(buffer, "%lu\n", count);
}

static const struct kernel_param_ops assigned = { .get = get_assigned };
module_param_cb(assigned, &assigned, NULL, 0400);
MODULE_PARM_DESC(assigned, "Pages that are assigned in the reverse map table");

MODULE_DESCRIPTION("Assigned pages of the reverse map table, for tests");
MODULE_LICENSE("GPL");

# SPDX-License-Identifier: GPL-2.0
#
# awk -v inherited=FILE -f reports.awk [LOG]: the first line of each report in a kernel's log, behind the name of the test that
# was running, if one was named. Left out are those that the file "inherited" lists, whose trace says so.

BEGIN {
	FS = "\t"
	while ((getline line <inherited) > 0)
		if (line !~ /^#/ && split(line, field, "\t") > 1) caller[field[1]] = field[2]
	test = "at boot"
}

# What has not turned out to be inherited is one.
function settle() {
	if (report != "") print report
	report = what = ""
}

END { settle() }

{ sub(/\r$/, ""); sub(/^\[ *[0-9.]+\](\[[^]]*\])? /, "") }

/^ghcb_rs: test [0-9]+: / { settle(); test = $0; sub(/^.*: /, "", test); next }

/(^|[^A-Z])BUG: |^BUG [a-z]|^WARNING: |UBSAN: |CFI failure at|ODEBUG: |Oops|general protection fault|Kernel panic|kernel BUG at/ ||
/INFO: task .*blocked|rcu: .*(stall|detected)|unreferenced object|list_(add|del) corruption|bad: scheduling|rust_kernel: .*panic/ {
	settle()
	report = test ": " $0
	for (line in caller)
		if (index($0, line)) what = line
	next
}

# The trace of one that may be inherited: of C's function, with nothing of this module's before it.
what != "" && /^ +[A-Za-z_]/ {
	if (index($0, "[ghcb_rs]")) what = ""
	else if (index($0, " " caller[what] "+")) report = what = ""
}

/<\/TASK>/ { settle() }

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs the tests, each in a process of its own, and tells in KTAP.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "snp.h"

#define TRACING "/sys/kernel/tracing/"
#define SECONDS 400                     /* for one test: it hangs */

static void put(const char *file, const char *value)
{
    int fd = open(file, O_WRONLY | O_TRUNC);

    if (fd < 0 || write(fd, value, strlen(value)) < 0) {
        err(1, "%s", file);
    }
    close(fd);
}

void trace_exits(bool on)
{
    if (on) {
        put(TRACING "trace", "\n");
    }
    put(TRACING "events/kvm/kvm_exit/enable", on ? "1" : "0");
}

int traced_exits(const char *reason)
{
    FILE *f = fopen(TRACING "trace", "r");
    char line[1024], want[64];
    int n = 0;

    snprintf(want, sizeof(want), "reason %s ", reason);
    while (f && fgets(line, sizeof(line), f)) {
        n += strstr(line, want) != NULL;
    }
    if (f) {
        fclose(f);
    }
    return n;
}

static bool run(const struct test *t)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(SECONDS);
        status = !t->run();
        fflush(stdout);
        _exit(status);
    }
    if (waitpid(pid, &status, 0) != pid) {
        err(1, "waitpid");
    }
    if (WIFSIGNALED(status)) {
        printf("# %s\n", strsignal(WTERMSIG(status)));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/*
 * Not on a host with SEV-SNP: Linux 7.3 without SME cannot receive a guest
 * there, and leaves its driver in disorder; and without the driver nobody gives
 * pages to the firmware.
 */
enum where { ANYWHERE, WITH_SNP, WITHOUT_SNP };

static const struct group { const struct test *tests; enum where where; bool invasive; } groups[] = {
    { cpu_tests }, { vcpu_tests }, { event_tests }, { memory_tests },
#ifndef HARMLESS
    { paging_tests, ANYWHERE, INVASIVE },
    { firmware_tests, ANYWHERE, INVASIVE }, { certificate_tests, ANYWHERE, INVASIVE },
    { session_tests, ANYWHERE, INVASIVE }, { migration_tests, WITHOUT_SNP, INVASIVE },
    { mailbox_tests, WITHOUT_SNP, INVASIVE }, { snp_owner_tests, WITH_SNP, INVASIVE },
    { snp_report_tests, WITH_SNP, INVASIVE },
#endif
    { snp_tests, WITH_SNP },
};

#ifdef HARMLESS
static bool harmless = true;
#else
static bool harmless;
#endif
static const char *words = "";

/* Is the test for this host, and one of those that were asked for? */
static bool fits(const struct group *g, const struct test *t)
{
    enum where elsewhere = snp_host() ? WITHOUT_SNP : WITH_SNP;

    return g->where != elsewhere && !(harmless && (g->invasive || t->invasive)) && strstr(t->name, words);
}

/*
 * behaviours [--harmless] [WORDS]: all, or those that leave a host as it is; of these, those whose name has the words.
 * behaviours-harmless [WORDS]: the second alone.
 */
int main(int argc, char **argv)
{
    const struct group *g, *end = groups + sizeof(groups) / sizeof(groups[0]);
    const struct test *t;
    int n = 0, passed = 0;

    read_processor();
    if (argc > 1 && !strcmp(argv[1], "--harmless")) {
        harmless = true;
        argc--;
        argv++;
    }
    if (argc > 1) {
        words = argv[1];
    }
    for (g = groups; g < end; g++) {
        for (t = g->tests; t->name; t++) {
            n += fits(g, t);
        }
    }
    printf("KTAP version 1\n1..%d\n", n);
    n = 0;
    for (g = groups; g < end; g++) {
        for (t = g->tests; t->name; t++) {
            bool ok;

            if (!fits(g, t)) {
                continue;
            }
            ok = run(t);
            passed += ok;
            printf("%sok %d %s\n", ok ? "" : "not ", ++n, t->name);
        }
    }
    printf("behaviours=%d passed=%d\n", n, passed);
    return passed != n;
}

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Commands that the kernel's driver does not issue, or not in such a state:
 * without the driver, straight to the mailbox.
 */
#include <err.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/psp-sev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests.h"

#define HUGE    0x200000ull
#define TMR     0x100000ull             /* offset in the huge page */

enum {
    INIT = 1, SHUTDOWN, FACTORY_RESET, PLATFORM_STATUS, PEK_GEN, PEK_CSR,
    PEK_CERT_IMPORT, PDH_CERT_EXPORT, PDH_GEN, DF_FLUSH, DOWNLOAD_FIRMWARE,
    GET_ID, INIT_EX, DECOMMISSION = 0x20, ACTIVATE, DEACTIVATE, GUEST_STATUS,
    LAUNCH_START = 0x30, LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA,
    LAUNCH_MEASURE, SEND_START = 0x40, RECEIVE_FINISH = 0x53,
};

static volatile uint32_t *bar;
static uint8_t *page;                   /* huge, for commands' buffers */
static uint64_t phys;

static int open_of(const char *dir, const char *file, int flags)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    fd = open(path, flags);
    if (fd < 0) {
        err(1, "%s", path);
    }
    return fd;
}

static bool open_mailbox(void)
{
    uint16_t command, id;
    uint64_t entry;
    size_t i;
    glob_t g;
    int fd;

    if (system("modprobe -r kvm_amd ccp && echo 1 >/proc/sys/vm/nr_hugepages")) {
        return false;
    }
    page = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
    fd = open_of("/proc/self", "pagemap", O_RDONLY);
    if (page == MAP_FAILED ||
        pread(fd, &entry, 8, (uintptr_t)page / 4096 * 8) != 8) {
        err(1, "huge page");
    }
    phys = (entry & ((1ull << 55) - 1)) * 4096;
    glob("/sys/bus/pci/devices/*", 0, NULL, &g);
    for (i = 0; i < g.gl_pathc && !bar; i++) {
        fd = open_of(g.gl_pathv[i], "config", O_RDWR);
        if (pread(fd, &id, 2, 2) != 2 || id != 0x14ca ||
            pread(fd, &command, 2, 4) != 2) {
            continue;
        }
        command |= 6;                   /* memory, bus master */
        if (pwrite(fd, &command, 2, 4) != 2) {
            err(1, "config");
        }
        fd = open_of(g.gl_pathv[i], "resource2", O_RDWR);
        bar = mmap(NULL, 0x100000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    return bar && bar != MAP_FAILED;
}

/* Issue @cmd with the words of its buffer at the start of the huge page */
static int issue(int cmd)
{
    bar[0x109e0 / 4] = phys;
    bar[0x109e4 / 4] = phys >> 32;
    bar[0x10980 / 4] = cmd << 16;
    return bar[0x10980 / 4] & 0xffff;
}

static bool is(int line, int status, int want)
{
    if (status != want) {
        printf("# line %d: status %#x instead of %#x\n", line, status, want);
    }
    return status == want;
}

/* A command with up to nine 32-bit words gives a status */
#define GIVES(want, cmd, ...) do {                                          \
        static const uint32_t none[9];                                      \
        uint32_t words[] = { __VA_ARGS__ };                                 \
        memcpy(page, none, sizeof(none));                                   \
        memcpy(page, words, sizeof(words));                                 \
        good &= is(__LINE__, issue(cmd), want);                             \
    } while (0)

#define LOW(offset)     (uint32_t)(phys + (offset))
#define HIGH            (uint32_t)(phys >> 32)

static bool states(void)
{
    uint32_t asid = processor.min_sev_asid, one, two;
    bool good = true;

    GIVES(0x11, 0x0f);                          /* no such command */
    GIVES(0x11, 0x7f);
    GIVES(1, PEK_GEN);
    GIVES(1, PDH_CERT_EXPORT);
    GIVES(1, LAUNCH_START);
    GIVES(1, DF_FLUSH);
    GIVES(4, DOWNLOAD_FIRMWARE, LOW(4096), HIGH, 0);
    GIVES(9, DOWNLOAD_FIRMWARE, LOW(4097), HIGH, 4096);
    GIVES(0xa, DOWNLOAD_FIRMWARE, LOW(4096), HIGH, 4096);

    GIVES(0x16, INIT, 2);
    GIVES(9, INIT, 1, 0, 0, 0, 0x100000);
    GIVES(9, INIT, 1, 0, LOW(TMR + 4096), HIGH, 0x100000);
    GIVES(4, INIT, 1, 0, LOW(TMR), HIGH, 0x1000);
    GIVES(4, INIT_EX, 35, 1, LOW(TMR), HIGH, 0x100000);
    GIVES(4, INIT_EX, 36, 1, LOW(TMR), HIGH, 0x100000, 0, LOW(4096), HIGH, 4096);
    GIVES(0, INIT, 1, 0, LOW(TMR), HIGH, 0x100000);
    GIVES(1, INIT, 1, 0, LOW(TMR), HIGH, 0x100000);
    GIVES(1, INIT_EX, 36, 1, LOW(TMR), HIGH, 0x100000);
    GIVES(1, FACTORY_RESET);
    GIVES(1, DOWNLOAD_FIRMWARE, LOW(4096), HIGH, 4096);

    GIVES(0, LAUNCH_START);
    one = *(uint32_t *)page;
    GIVES(0, LAUNCH_START);
    two = *(uint32_t *)page;
    /* While a guest exists */
    GIVES(1, SHUTDOWN);
    GIVES(1, INIT, 1, 0, LOW(TMR), HIGH, 0x100000);
    GIVES(1, INIT_EX, 36, 1, LOW(TMR), HIGH, 0x100000);
    GIVES(1, FACTORY_RESET);
    GIVES(1, PEK_GEN);
    GIVES(1, PEK_CSR, LOW(4096), HIGH, 4096);
    GIVES(1, PEK_CERT_IMPORT);
    GIVES(1, DOWNLOAD_FIRMWARE, LOW(4096), HIGH, 4096);
    GIVES(0, PDH_GEN);

    GIVES(0x10, GUEST_STATUS, 0);
    GIVES(0x10, GUEST_STATUS, 65);
    GIVES(0x10, LAUNCH_START, 65);
    GIVES(0xd, ACTIVATE, one, 0);
    GIVES(0xd, ACTIVATE, one, processor.asids + 1);
    GIVES(0xd, ACTIVATE, one, asid - 1);        /* SEV-ES only */
    GIVES(8, LAUNCH_UPDATE_DATA, one, 0, LOW(4096), HIGH, 16);
    GIVES(0, ACTIVATE, one, processor.asids);
    GIVES(0, DEACTIVATE, one);
    GIVES(0, ACTIVATE, one, asid);
    GIVES(0x12, ACTIVATE, one, asid + 1);
    GIVES(0xc, ACTIVATE, two, asid);
    GIVES(4, LAUNCH_UPDATE_DATA, one, 0, LOW(4096), HIGH, 15);
    GIVES(4, LAUNCH_UPDATE_DATA, one, 0, LOW(4096), HIGH, 0);
    GIVES(9, LAUNCH_UPDATE_DATA, one, 0, LOW(4097), HIGH, 16);
    GIVES(7, LAUNCH_UPDATE_VMSA, one, 0, LOW(4096), HIGH, 4096);
    GIVES(2, SEND_START, one);
    GIVES(2, RECEIVE_FINISH, one);
    GIVES(0x12, DECOMMISSION, one);
    GIVES(0, DEACTIVATE, one);
    GIVES(0xf, ACTIVATE, two, asid);
    GIVES(0, DF_FLUSH);
    GIVES(0, ACTIVATE, two, asid);
    GIVES(0, DEACTIVATE, two);
    GIVES(0, DECOMMISSION, one);
    GIVES(0x10, DECOMMISSION, one);
    GIVES(1, SHUTDOWN);
    GIVES(0, DECOMMISSION, two);
    GIVES(0, SHUTDOWN);
    GIVES(1, DF_FLUSH);
    return good;
}

static bool mailbox(void)
{
    bool ok = open_mailbox() && states();

    return system("modprobe ccp && modprobe kvm_amd sev_es=1") == 0 && ok;
}

const struct test mailbox_tests[] = {
    { "each command in its states, with its parameters", mailbox },
    { NULL, NULL }
};

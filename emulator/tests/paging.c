/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The host swaps out and merges what a guest shares with it, while it runs.
 */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "guest.h"
#include "tests.h"

#define PAGES           64
#define OPEN_PAGES      UNTOUCHED       /* shared */
#define ROUNDS          400
#define word(base, page) ((volatile uint64_t *)((base) + 0x1000ull * (page)))

#define SWAPPED         (1ull << 62)    /* in the page map */
#define PRESENT         (1ull << 63)
#define FRAME           ((1ull << 55) - 1)

static volatile bool stop;
static volatile int moved;              /* how often a page was found swapped or merged */

static GUEST uint64_t value(uint64_t page, uint64_t round)
{
    return page << 32 | round;
}

/* Every page has what was written last, and gets something new */
static GUEST void next_round(uint64_t base, uint64_t round)
{
    uint64_t page;

    for (page = 0; page < PAGES; page++) {
        shared->value[0] = page;
        shared->value[1] = *word(base, page);
        CHECK(*word(base, page) == (round ? value(page, round - 1) : 0));
        *word(base, page) = value(page, round);
        CHECK(word(base, page)[511] == 0);
    }
}

static GUEST void g_rounds(void)
{
    uint64_t round;

    for (round = 0; round < ROUNDS; round++) {
        next_round(OPEN_PAGES, round);
        next_round(SECRET_PAGE, round);
        if (round % 20 == 0) {
            pause_guest();
        }
    }
}

static uint64_t page_map(void *p)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    uint64_t entry = 0;

    if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)p / 4096 * 8) != 8) {
        err(1, "pagemap");
    }
    close(fd);
    return entry;
}

static int count(uint8_t *p, uint64_t bit)
{
    int i, n = 0;

    for (i = 0; i < PAGES; i++) {
        n += !!(page_map(p + 4096 * i) & bit);
    }
    return n;
}

static void *page_out(void *mem)
{
    while (!stop) {
        madvise((uint8_t *)mem + OPEN_PAGES, 4096 * PAGES, MADV_PAGEOUT);
        madvise((uint8_t *)mem + SECRET_PAGE, 4096 * PAGES, MADV_PAGEOUT);
        moved += count((uint8_t *)mem + OPEN_PAGES, SWAPPED);
    }
    return NULL;
}

#define ZRAM "/sys/block/zram0/"

static bool swap(bool on)
{
    return !system(on ? "{ modprobe zram && echo 64M >" ZRAM "disksize &&"
                        " mkswap -q /dev/zram0 && swapon /dev/zram0; } 2>&1 | sed 's/^/# /'; grep -q zram0 /proc/swaps"
                      : "swapoff /dev/zram0 && echo 1 >" ZRAM "reset");
}

/* The guest in its rounds, while @harass is at work on its memory */
static bool survives(struct vm *vm, void *(*harass)(void *))
{
    volatile struct mailbox *s = vm_shared(vm);
    int reason = KVM_EXIT_HLT;
    pthread_t t;

    stop = false;
    moved = 0;
    pthread_create(&t, NULL, harass, vm->mem);
    while (reason == KVM_EXIT_HLT && !s->done && !s->failed) {
        reason = vm_run(vm);
    }
    stop = true;
    pthread_join(t, NULL);
    return guest_passed(s);
}

static bool swapped(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_rounds);
    uint8_t *open_pages = vm->mem + OPEN_PAGES;
    bool ok = swap(true);
    int pinned, gone;

    ok = ok && vm_run(vm) == KVM_EXIT_HLT;
    /* At rest all of the one kind goes out, and none of the other */
    madvise(open_pages, 4096 * PAGES, MADV_PAGEOUT);
    madvise(vm->mem + SECRET_PAGE, 4096 * PAGES, MADV_PAGEOUT);
    gone = count(open_pages, SWAPPED);
    pinned = count(vm->mem + SECRET_PAGE, PRESENT);
    ok = ok && survives(vm, page_out);
    if (gone < PAGES / 2 || pinned != PAGES || moved < PAGES) {
        printf("# %d shared pages out, %d private ones in, %d out in the run\n",
               gone, pinned, moved);
        ok = false;
    }
    return swap(false) && ok;
}

#define PHASES          3
#define merged_phase    shared->value[2]

/* Pages that are alike until the host has merged them, and then are not */
static GUEST void g_alike(void)
{
    static const uint64_t bases[] = { OPEN_PAGES, SECRET_PAGE };
    uint64_t phase, page, i;
    int b;

    for (phase = 1; phase <= PHASES && !shared->failed; phase++) {
        for (i = 0; i < 2 * PAGES * 512; i++) {
            *((volatile uint64_t *)bases[i / 512 / PAGES] + i % (512 * PAGES)) = phase;
        }
        while (merged_phase < phase) {
            for (page = 0; page < PAGES; page++) {
                CHECK(word(OPEN_PAGES, page)[page] == phase);
            }
        }
        for (page = 0; page < PAGES; page++) {
            word(OPEN_PAGES, page)[page] = word(SECRET_PAGE, page)[page] = value(page, phase);
        }
        for (b = 0; b < 2; b++) {
            for (i = 0; i < PAGES * 512 && !shared->failed; i++) {
                shared->value[0] = bases[b] + 8 * i;
                shared->value[1] = ((volatile uint64_t *)bases[b])[i];
                CHECK(shared->value[1] ==
                      (i % 512 == i / 512 ? value(i / 512, phase) : phase));
            }
        }
    }
}

static int same_frames(uint8_t *p)
{
    uint64_t frame = page_map(p) & FRAME;
    int i, n = 0;

    for (i = 0; i < PAGES; i++) {
        n += (page_map(p + 4096 * i) & FRAME) == frame;
    }
    return n;
}

static void *merge(void *mem)
{
    volatile struct mailbox *s = (void *)((uint8_t *)mem + SHARED);
    uint8_t *open_pages = (uint8_t *)mem + OPEN_PAGES;
    uint64_t phase;

    for (phase = 1; phase <= PHASES && !stop; phase++) {
        while (*(volatile uint64_t *)(open_pages + 4096 * PAGES - 8) != phase ||
               same_frames(open_pages) < PAGES / 2) {
            if (stop) {
                return NULL;
            }
            usleep(1000);
        }
        moved += same_frames(open_pages);
        s->value[2] = phase;
    }
    return NULL;
}

#define KSM "/sys/kernel/mm/ksm/"

static bool merged(void)
{
    struct vm *vm = vm_launch(SEV_ES, g_alike);
    bool ok = !system("echo 10 >" KSM "sleep_millisecs && echo 1000 >" KSM "pages_to_scan &&"
                      " echo 1 >" KSM "run");
    uint64_t frame = page_map(vm->mem + SECRET_PAGE) & FRAME;

    ok = ok && !madvise(vm->mem + OPEN_PAGES, 4096 * PAGES, MADV_MERGEABLE) &&
         !madvise(vm->mem + SECRET_PAGE, 4096 * PAGES, MADV_MERGEABLE) &&
         survives(vm, merge);
    if (ok && (moved < PHASES * PAGES / 2 || same_frames(vm->mem + SECRET_PAGE) != 1 ||
               (page_map(vm->mem + SECRET_PAGE) & FRAME) != frame)) {
        printf("# %d shared pages merged, %d private ones\n", moved,
               same_frames(vm->mem + SECRET_PAGE));
        ok = false;
    }
    return !system("echo 2 >" KSM "run && echo 0 >" KSM "run") && ok;
}

const struct test paging_tests[] = {
    { "shared pages are swapped out under a running guest", swapped },
    { "shared pages are merged under a running guest", merged },
    { NULL, NULL }
};

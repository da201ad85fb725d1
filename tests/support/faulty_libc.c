/*
 * Loaded by LD_PRELOAD: keeps what a process has written and not synced, and shifts its clock.
 *
 * FAULTY_FOLDER: for each file below it, except *-shm and *.undo, the bytes that a write replaces are appended to
 * FILE.undo before the write; fsync and fdatasync empty FILE.undo. After a SIGKILL these files have what a loss of
 * power may undo (tests/support/faulty_libc.py).
 * FAULTY_CLOCK: a file with one signed 64-bit number, the nanoseconds that are added to CLOCK_REALTIME.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

struct replaced { int64_t offset, n_old, n_new, old_size; }; /* n_old bytes follow */

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* The undo file of a descriptor, opened; -1 for files that are not watched. */
static int open_undo(int fd, int flags)
{
    const char *folder = getenv("FAULTY_FOLDER");
    char link[64], path[PATH_MAX], undo[PATH_MAX + 8];
    if (!folder || fd < 0) return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return -1;
    path[n] = 0;
    if (strncmp(path, folder, strlen(folder)) || ends_with(path, "-shm") || ends_with(path, ".undo")) return -1;
    snprintf(undo, sizeof undo, "%s.undo", path);
    return open(undo, flags | O_CLOEXEC, 0600);
}

static ssize_t real_write(int fd, const void *bytes, size_t n)
{
    REAL(write);
    return real(fd, bytes, n);
}

static void keep_replaced(int fd, off_t offset, size_t n_new)
{
    struct stat st;
    int undo = open_undo(fd, O_WRONLY | O_CREAT | O_APPEND);
    if (undo < 0) return;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode)) {
        struct replaced one = {offset, 0, (int64_t)n_new, st.st_size};
        if (offset < st.st_size) one.n_old = st.st_size - offset < (off_t)n_new ? st.st_size - offset : (off_t)n_new;
        char *record = malloc(sizeof one + (size_t)one.n_old);
        /* A descriptor that is open for writing only is read by another one. */
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int reading = open(link, O_RDONLY | O_CLOEXEC);
        if (record && reading >= 0 && pread(reading, record + sizeof one, (size_t)one.n_old, offset) == one.n_old) {
            memcpy(record, &one, sizeof one);
            if (real_write(undo, record, sizeof one + (size_t)one.n_old) < 0) abort();
        }
        if (reading >= 0) close(reading);
        free(record);
    }
    close(undo);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    REAL(pwrite);
    keep_replaced(fd, offset, n);
    return real(fd, bytes, n, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
    REAL(pwrite64);
    keep_replaced(fd, offset, n);
    return real(fd, bytes, n, offset);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    if (getenv("FAULTY_FOLDER") && fd > 2) {
        off_t offset = lseek(fd, 0, SEEK_CUR);
        if (offset >= 0) keep_replaced(fd, offset, n);
    }
    return real_write(fd, bytes, n);
}

static void keep_truncated(int fd, off_t length)
{
    struct stat st;
    if (!fstat(fd, &st) && st.st_size > length) keep_replaced(fd, length, (size_t)(st.st_size - length));
}

int ftruncate(int fd, off_t length)
{
    REAL(ftruncate);
    keep_truncated(fd, length);
    return real(fd, length);
}

int ftruncate64(int fd, off64_t length)
{
    REAL(ftruncate64);
    keep_truncated(fd, length);
    return real(fd, length);
}

static void forget_replaced(int fd)
{
    int undo = open_undo(fd, O_WRONLY | O_TRUNC);
    if (undo >= 0) close(undo);
}

int fsync(int fd)
{
    REAL(fsync);
    int done = real(fd);
    if (!done) forget_replaced(fd);
    return done;
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    int done = real(fd);
    if (!done) forget_replaced(fd);
    return done;
}

static int64_t clock_offset(void)
{
    static volatile int64_t *offset;
    static int is_looked_for;
    if (!is_looked_for) {
        const char *path = getenv("FAULTY_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd >= 0) {
            void *mapped = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
            if (mapped != MAP_FAILED) offset = mapped;
            close(fd);
        }
        is_looked_for = 1;
    }
    return offset ? *offset : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime);
    int done = real(clock, now);
    if (!done && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + clock_offset();
        now->tv_sec = ns / INT64_C(1000000000);
        now->tv_nsec = ns % INT64_C(1000000000);
    }
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found)
{
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return (time_t)-1;
    if (found) *found = exact.tv_sec;
    return exact.tv_sec;
}

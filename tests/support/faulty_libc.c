/*
 * Loaded by LD_PRELOAD: keeps what a process has written and not synced, and shifts its clock.
 *
 * FAULTY_FOLDER: for each file below it, except *-shm and *.undo, the bytes that a write replaces are appended to
 * FILE.undo before the write; fsync and fdatasync empty FILE.undo. After a SIGKILL these files have what a loss of
 * power may undo (tests/support/faulty_libc.py).
 * FAULTY_UNDO: a folder for the undo files instead, named by the path with % for /. Paths are then those of open(2),
 * so that no /proc is needed; rename and unlink take the undo file along.
 * FAULTY_CLOCK: a file with one signed 64-bit number, the nanoseconds that are added to CLOCK_REALTIME.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
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

static int real_open(const char *path, int flags, mode_t mode)
{
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    return real(path, flags, mode);
}

#define MAX_TRACKED 4096
static char *opened[MAX_TRACKED]; /* absolute path of each descriptor; only with FAULTY_UNDO */

static void make_absolute(const char *path, char *found)
{
    char folder[PATH_MAX];
    folder[0] = 0;
    if (path[0] != '/' && !getcwd(folder, sizeof folder)) abort();
    if (strlen(folder) + strlen(path) + 2 > PATH_MAX) abort();
    sprintf(found, "%s%s%s", folder, folder[0] ? "/" : "", path);
}

/* The name of the undo file of a path; 0 for files that are not watched. */
static int undo_name(const char *path, char *undo)
{
    const char *folder = getenv("FAULTY_FOLDER"), *elsewhere = getenv("FAULTY_UNDO");
    if (!folder || strncmp(path, folder, strlen(folder)) || ends_with(path, "-shm") || ends_with(path, ".undo")) return 0;
    if (!elsewhere) return snprintf(undo, PATH_MAX + 8, "%s.undo", path) > 0;
    int n = snprintf(undo, PATH_MAX + 8, "%s/", elsewhere);
    snprintf(undo + n, (size_t)(PATH_MAX + 8 - n), "%s", path);
    for (char *at = undo + n; *at; at++) if (*at == '/') *at = '%';
    return 1;
}

/* The undo file of a descriptor, opened; -1 for files that are not watched. */
static int open_undo(int fd, int flags)
{
    char link[64], path[PATH_MAX], undo[PATH_MAX + 8];
    if (!getenv("FAULTY_FOLDER") || fd < 0) return -1;
    if (getenv("FAULTY_UNDO")) {
        if (fd >= MAX_TRACKED || !opened[fd]) return -1;
        return undo_name(opened[fd], undo) ? real_open(undo, flags | O_CLOEXEC, 0600) : -1;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return -1;
    path[n] = 0;
    return undo_name(path, undo) ? real_open(undo, flags | O_CLOEXEC, 0600) : -1;
}

static int open_tracked(const char *path, int flags, mode_t mode)
{
    char found[PATH_MAX], undo[PATH_MAX + 8];
    int fd = real_open(path, flags, mode);
    if (fd < 0 || fd >= MAX_TRACKED || !getenv("FAULTY_UNDO")) return fd;
    make_absolute(path, found);
    free(opened[fd]);
    opened[fd] = strdup(found);
    if ((flags & O_TRUNC) && undo_name(found, undo)) unlink(undo);
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return open_tracked(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return open_tracked(path, flags, mode);
}

int unlink(const char *path)
{
    REAL(unlink);
    char found[PATH_MAX], undo[PATH_MAX + 8];
    int done = real(path);
    if (!done && getenv("FAULTY_UNDO")) {
        make_absolute(path, found);
        if (undo_name(found, undo)) real(undo);
    }
    return done;
}

int rename(const char *before, const char *after)
{
    REAL(rename);
    char found[PATH_MAX], from[PATH_MAX + 8], to[PATH_MAX + 8];
    int done = real(before, after);
    if (!done && getenv("FAULTY_UNDO")) {
        make_absolute(after, found);
        int is_watched = undo_name(found, to);
        make_absolute(before, found);
        if (is_watched && undo_name(found, from) && real(from, to)) unlink(to);
    }
    return done;
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
        int reading = getenv("FAULTY_UNDO") ? dup(fd) : real_open(link, O_RDONLY | O_CLOEXEC, 0);
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

static size_t total(const struct iovec *parts, int n)
{
    size_t found = 0;
    for (int one = 0; one < n; one++) found += parts[one].iov_len;
    return found;
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    REAL(pwritev);
    keep_replaced(fd, offset, total(parts, n));
    return real(fd, parts, n, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset)
{
    REAL(pwritev64);
    keep_replaced(fd, offset, total(parts, n));
    return real(fd, parts, n, offset);
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
        int fd = path ? real_open(path, O_RDONLY | O_CLOEXEC, 0) : -1;
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

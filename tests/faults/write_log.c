/* Tells the file named by WRITE_LOG of what a process does to files below the directory WRITE_LOG_OF:
   what it wrote where, which syncs began and ended, what it cut short or deleted.

   A write is told of once it is done and a sync before and after, so that whoever reads this never
   takes for durable what was not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    char deed;
    char name[23];
    uint64_t thread;
    uint64_t offset;
    uint64_t size;
};

/* The name of a file of ours; the directory itself is ".". */
static const char *ours(const char *path) {
    const char *directory = getenv("WRITE_LOG_OF");
    size_t length = directory == NULL ? 0 : strlen(directory);
    if (length == 0 || strncmp(path, directory, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return ".";
    if (path[length] != '/' || strncmp(path + length + 1, "hark.db", 7) != 0)
        return NULL;
    return path + length + 1;
}

static void tell_of(char deed, const char *name, uint64_t offset, const void *data, size_t size) {
    static int log = -1;
    struct record record = {.deed = deed, .offset = offset, .size = size};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)data, data == NULL ? 0 : size}};
    if (log < 0)
        log = open(getenv("WRITE_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    strncpy(record.name, name, sizeof record.name - 1);
    record.thread = (uint64_t)syscall(SYS_gettid);
    if (writev(log, parts, 2) < (ssize_t)sizeof record)
        abort();
}

static void tell(char deed, int descriptor, uint64_t offset, const void *data, size_t size) {
    char link[64], path[PATH_MAX];
    const char *name;
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = '\0';
    name = ours(path);
    if (name != NULL)
        tell_of(deed, name, offset, data, size);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    ssize_t written = syscall(SYS_pwrite64, descriptor, data, size, offset);
    if (written > 0)
        tell('w', descriptor, (uint64_t)offset, data, (size_t)written);
    return written;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    return pwrite64(descriptor, data, size, offset);
}

int ftruncate64(int descriptor, off64_t size) {
    int failed = (int)syscall(SYS_ftruncate, descriptor, size);
    if (!failed)
        tell('t', descriptor, 0, NULL, (size_t)size);
    return failed;
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

int unlink(const char *path) {
    int failed = (int)syscall(SYS_unlink, path);
    const char *name = ours(path);
    if (!failed && name != NULL)
        tell_of('d', name, 0, NULL, 0);
    return failed;
}

static int synced(long number, int descriptor) {
    int failed;
    tell('b', descriptor, 0, NULL, 0);
    failed = (int)syscall(number, descriptor);
    if (!failed)
        tell('e', descriptor, 0, NULL, 0);
    return failed;
}

int fsync(int descriptor) { return synced(SYS_fsync, descriptor); }
int fdatasync(int descriptor) { return synced(SYS_fdatasync, descriptor); }

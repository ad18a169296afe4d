/* Lets every sync of a process fail for as long as the file named by BROKEN_DISK is there. */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken(void) {
    const char *name = getenv("BROKEN_DISK");
    return name != NULL && access(name, F_OK) == 0;
}

static int synced(long number, int descriptor) {
    if (broken()) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, descriptor);
}

int fsync(int descriptor) { return synced(SYS_fsync, descriptor); }
int fdatasync(int descriptor) { return synced(SYS_fdatasync, descriptor); }

// Keeps WASI out. Parts of libc, such as snprintf and strtod, drag in streams, and those the system calls for reading and
// writing files. Here these calls are answered within the plug-in, "bad file descriptor", so that it imports nothing but
// the contract's own.
#include <stdint.h>

enum { BADF = 8 };

int32_t __imported_wasi_snapshot_preview1_fd_close(int32_t fd) {
  (void)fd;
  return BADF;
}

int32_t __imported_wasi_snapshot_preview1_fd_seek(int32_t fd, int64_t offset, int32_t whence, int32_t position) {
  (void)fd, (void)offset, (void)whence, (void)position;
  return BADF;
}

int32_t __imported_wasi_snapshot_preview1_fd_read(int32_t fd, int32_t parts, int32_t count, int32_t done) {
  (void)fd, (void)parts, (void)count, (void)done;
  return BADF;
}

int32_t __imported_wasi_snapshot_preview1_fd_write(int32_t fd, int32_t parts, int32_t count, int32_t done) {
  (void)fd, (void)parts, (void)count, (void)done;
  return BADF;
}

int32_t __imported_wasi_snapshot_preview1_fd_fdstat_get(int32_t fd, int32_t stat) {
  (void)fd, (void)stat;
  return BADF;
}

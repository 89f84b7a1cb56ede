// A driver of CUDA without a GPU: Triton's own code loads kernels and launches them, and what
// it launches is printed instead.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MULTIPROCESSORS = 16, MAJOR = 75, MINOR = 76, OPT_IN_SHARED = 97 };

typedef struct {
    unsigned grid[3], block[3], shared;
    void *stream, *attributes;
    unsigned number;
} Config;

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case OPT_IN_SHARED: *value = 232448; break;
    case MULTIPROCESSORS: *value = 132; break;
    case MAJOR: *value = 9; break;
    case MINOR: *value = 0; break;
    default: *value = 1;
    }
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)16; return 0; }
int cuCtxGetCurrent(void **context) { *context = (void *)16; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuCtxGetLimit(size_t *value, int limit) { *value = 0; return 0; }
int cuCtxSetLimit(int limit, size_t value) { return 0; }
int cuFuncGetAttribute(int *value, int attribute, void *function) {
    *value = attribute == 0 ? 1024 : 0; // the most threads of a block
    return 0;
}
int cuFuncSetAttribute(void *function, int attribute, int value) { return 0; }
int cuFuncSetCacheConfig(void *function, int config) { return 0; }
int cuGetErrorString(int error, const char **text) { *text = "stub"; return 0; }
int cuModuleLoadData(void **module, const void *image) { *module = (void *)32; return 0; }
int cuModuleUnload(void *module) { return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = strdup(name);
    return 0;
}
int cuOccupancyMaxActiveClusters(int *number, void *function, void *config) {
    *number = 1;
    return 0;
}
int cuPointerGetAttribute(void *value, int attribute, uint64_t address) {
    *(uint64_t *)value = address;
    return 0;
}
int cuStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }
int cuLaunchKernelEx(const Config *config, void *function, void **arguments, void **extra) {
    printf("%s %u %u %u threads %u stream %p first %d\n", (char *)function, config->grid[0],
           config->grid[1], config->grid[2], config->block[0], config->stream,
           *(int *)arguments[0]);
    fflush(stdout);
    return 0;
}

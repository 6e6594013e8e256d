/* A stand-in for lwIP's header of this name. */
#ifndef STAND_IN_SYS_H
#define STAND_IN_SYS_H

#include <stdint.h>
#include <time.h>

typedef void (*lwip_thread_fn)(void *arg);
typedef int sys_thread_t;

static inline uint32_t sys_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

static inline void sys_msleep(uint32_t milliseconds) {
    struct timespec time = {(time_t)(milliseconds / 1000u), (long)(milliseconds % 1000u) * 1000000L};
    nanosleep(&time, NULL);
}

/* Runs the thread in the caller's. */
static inline sys_thread_t sys_thread_new(const char *name, lwip_thread_fn thread, void *arg, int stack, int priority) {
    (void)name, (void)stack, (void)priority;
    thread(arg);
    return 0;
}

#endif

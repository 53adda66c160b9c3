/* team.h: teams of OpenMP threads, and the number of threads that the system allows in a team.
 *
 * gcc's libgomp reuses the threads of a caller's last team in the next team. If the next team is
 * smaller, libgomp ends the surplus threads; if it is larger, libgomp starts more threads. If a thread
 * cannot be started, libgomp ends the process. Before a team grows, this file therefore tests
 * whether the system allows the additional threads.
 */
#ifndef NNFAST_TEAM_H
#define NNFAST_TEAM_H

#include "simd.h"

#ifdef _OPENMP
#include <omp.h>
#define HAS_OPENMP 1
#define team_barrier() _Pragma("omp barrier")
INLINE int team_size(void) { return omp_get_num_threads(); }
INLINE int thread_limit(void) { return omp_get_max_threads(); }
#else
#define HAS_OPENMP 0
#define team_barrier()
INLINE int team_size(void) { return 1; }
INLINE int thread_limit(void) { return 1; }
#endif

#if defined(_OPENMP) && !defined(_WIN32)
#include <ctype.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define REFUSAL_SECONDS 1.0  /* delay before starting more threads is tried again */
#define RELEASE_SECONDS 0.01 /* longest wait for the system to release a joined thread */

/* State of the calling thread's teams. */
static _Thread_local struct {
    int size;      /* number of threads in the last team */
    int most;      /* largest team that the system allowed */
    double until;  /* time at which `most` expires */
} own_team;

typedef struct {
    pthread_t thread;
    long id;
} Trial;

/* Locked while trial threads are started, so that all of them exist at the same time. */
static pthread_mutex_t trial_gate = PTHREAD_MUTEX_INITIALIZER;

static void* try_thread(void* trial)
{
#ifdef __linux__
    ((Trial*)trial)->id = syscall(SYS_gettid);
#else
    (void)trial;
#endif
    pthread_mutex_lock(&trial_gate);
    pthread_mutex_unlock(&trial_gate);
    return NULL;
}

/* Wait for a trial thread to end. A joined thread still counts towards system limits for a few µs. */
static void end_trial(const Trial* trial)
{
    pthread_join(trial->thread, NULL);
#ifdef __linux__
    double deadline = seconds_now() + RELEASE_SECONDS;
    while (syscall(SYS_tgkill, (long)getpid(), trial->id, 0L) == 0 && seconds_now() < deadline)
        sched_yield();
#endif
}

/* Give trial threads the stack size of OpenMP threads: OMP_STACKSIZE if it is set, else the default. */
static void set_stack_size(pthread_attr_t* attributes)
{
    const char* text = getenv("OMP_STACKSIZE");
    char* end;
    size_t size;
    if (text == NULL)
        return;
    size = strtoull(text, &end, 10);
    while (isspace((unsigned char)*end))
        end++;
    switch (tolower((unsigned char)*end)) {
    case 'b': break;
    case 'm': size <<= 20; break;
    case 'g': size <<= 30; break;
    default: size <<= 10;
    }
    pthread_attr_setstacksize(attributes, size); /* fails if the size is too small */
}

/* Start and end n idle threads, or as many as the system allows, and return their number. */
static int try_threads(int n)
{
    Trial* trials = calloc((size_t)n, sizeof(Trial));
    pthread_attr_t attributes;
    int i, started = 0;
    if (trials == NULL)
        return 0;
    pthread_attr_init(&attributes);
    set_stack_size(&attributes);
    pthread_mutex_lock(&trial_gate);
    while (started < n
           && pthread_create(&trials[started].thread, &attributes, try_thread, &trials[started]) == 0)
        started++;
    pthread_mutex_unlock(&trial_gate);
    for (i = 0; i < started; i++)
        end_trial(&trials[i]);
    pthread_attr_destroy(&attributes);
    free(trials);
    return started;
}

static void start_team(int n)
{
    #pragma omp parallel num_threads(n)
    {
        team_barrier();
    }
}

/* Return the size of the calling thread's next team: n, or fewer if the system does not allow n. A team
 * larger than the last one is started here. Callers hold the GIL, so that no thread tries or starts a
 * team while another one does. */
static int threads_of_team(int n)
{
    int running = own_team.size > 1 ? own_team.size : 1;
    if (omp_in_parallel()) /* called by a user-defined loss within a team */
        return 1;
    if (n > running && n > own_team.most && seconds_now() < own_team.until)
        n = own_team.most;
    if (n > running) {
        int possible = running + try_threads(n - running);
        if (possible < n) {
            own_team.most = n = possible;
            own_team.until = seconds_now() + REFUSAL_SECONDS;
        }
        if (n > running)
            start_team(n);
    }
    own_team.size = n;
    return n;
}
#define forget_team() (own_team.size = 0)
#else
static int threads_of_team(int n) { return n; }
#define forget_team()
#endif

/* End the calling thread's team before a fork; return 1 if the child may create a new one. In a child,
 * gcc's libgomp would wait for threads that the fork did not copy; LLVM's libomp recovers by itself. */
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
INLINE int end_team(void)
{
    if (omp_pause_resource_all(omp_pause_hard) != 0)
        return 0;
    forget_team();
    return 1;
}
#elif defined(_OPENMP) && !defined(__clang__)
INLINE int end_team(void) { return 0; }
#else
INLINE int end_team(void) { return 1; }
#endif

#endif

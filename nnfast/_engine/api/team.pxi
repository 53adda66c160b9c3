"""Trials that measure whether several threads are faster than one. Part of core.pyx."""

cdef class PassTrial:
    """Chooses between one thread and a team for passes over rows, from the durations of whole passes.

    Results are the same either way. A team is slower than one thread if the system has descheduled one of
    its threads, or if it has to be woken for each short pass. The slower option is tried again from time
    to time, and less often the more trials it loses.
    """
    cdef double alone, together     # seconds per flop in the last pass of one thread and of a team; 0: none
    cdef double next_trial, pause

    cpdef int choose(self, int threads, double now) noexcept:
        """Return the number of threads, 1 or `threads`, for a pass that begins now."""
        if threads == 1 or forced_threads:
            return threads
        return threads if self.team_pays() != self.is_trial(now) else 1

    cpdef note(self, int threads, double seconds, double flops, double now):
        """Record the duration of a pass that began at `now` with this number of threads."""
        cdef bint trial = self.is_trial(now), paid = self.team_pays()
        if threads > 1:
            self.together = seconds / flops
        else:
            self.alone = seconds / flops
        if self.team_pays() != paid:    # one measurement may be an outlier: try again soon
            self.pause = 0.1
            self.next_trial = now + seconds + self.pause
        elif trial:                     # trials with long passes take longer, so they are rarer
            self.pause = min(1.0, max(0.1, 2 * self.pause))
            self.next_trial = now + 50 * seconds + self.pause

    cdef bint team_pays(self) noexcept:
        return self.alone == 0 or self.together < self.alone

    cdef bint is_trial(self, double now) noexcept:
        return self.together > 0 and now > self.next_trial


cdef class TeamTrial:
    """Runs training steps and chooses between one thread and a team. A trial may span several calls."""
    cdef const Kernels* k
    cdef bint team_pays         # the result of the last trial
    cdef double next_trial
    cdef double pause           # seconds from one trial to the next
    cdef int part               # the next of the trial's three parts: 0, 1 or 2
    cdef double alone           # seconds per step with one thread in this trial

    cdef begin(self, const Kernels* k, double expected):
        """Forget earlier trials. expected: estimated seconds per step with one thread."""
        self.k = k
        self.team_pays = True
        # If a step takes more than 10 ms, a short delay of the team matters little: the first trial comes
        # after ten steps.
        self.next_trial = k.now() + 10 * expected if expected > 0.01 else 0
        self.pause = 0.05
        self.part = 0

    cdef train(self, Run* run, int threads, double deadline):
        """Run the steps until the deadline, with one thread or a team, whichever is faster.

        On a busy machine, threads wait milliseconds at a barrier for a thread that the system has
        descheduled. For small steps, a team is then up to 100 times slower than one thread. Only a
        measurement can show this. Every step may use either option, because results do not depend on the
        number of threads. Each trial measures both options for a millisecond. While the team wins, there
        are ten trials per second; while it loses, they become rarer, down to one per second.
        """
        if threads == 1 or forced_threads:
            self.segment(run, threads, deadline)
            return
        if self.k.now() > self.next_trial:
            self.try_out(run, threads, deadline)
        if self.k.now() <= deadline:
            self.segment(run, threads if self.team_pays else 1, deadline)

    cdef try_out(self, Run* run, int threads, double deadline):
        """Run a trial as far as steps and time allow; the next call continues it.

        Short calls wake the team each time. Their measurements therefore include the wake-up time, and
        each call is one part of the trial.
        """
        cdef double until, waking
        if self.part == 0:
            self.alone = self.segment(run, 1, self.k.now() + TRIAL_SECONDS)
            self.part = 1
        if self.part == 1 and run.n_steps > 0 and self.k.now() <= deadline:
            until = self.k.now()    # wake the team with one step, or with all steps of a short call
            if self.alone * run.n_steps < 2 * TRIAL_SECONDS:
                until = min(until + TRIAL_SECONDS, deadline)
            waking = self.segment(run, threads, until)
            self.part = 2
            if waking > self.alone + 2 * TRIAL_SECONDS:     # too slow for a mere wake-up: a processor is busy
                self.decide(waking)
        if self.part == 2 and run.n_steps > 0 and self.k.now() <= deadline:
            self.decide(self.segment(run, threads, self.k.now() + TRIAL_SECONDS))

    cdef decide(self, double together):
        """End a trial. together: seconds per step with the team."""
        self.team_pays = together < self.alone
        # A lost trial may be an outlier, so the pause doubles with each loss instead of jumping to a second.
        self.pause = 0.1 if self.team_pays else min(1.0, 2 * self.pause)
        # A trial with long steps takes longer, so it is rarer.
        self.next_trial = self.k.now() + self.pause + 20 * self.alone
        self.part = 0

    cdef double segment(self, Run* run, int threads, double deadline):
        """Run steps until the deadline; return the mean seconds per step."""
        cdef double begin
        if run.n_steps == 0 or run.status != STATUS_OK:
            return INFINITY
        run.n_threads = threads_of_team(threads)
        begin = self.k.now()
        run.steps_done = 0
        run.deadline = deadline
        run.stop = False
        with nogil:
            self.k.train(run)
        run.lr += run.steps_done
        run.losses += run.steps_done
        run.n_steps -= run.steps_done
        run.iterations += run.steps_done
        run.order_ready = run.batch_index > 0
        return (self.k.now() - begin) / run.steps_done

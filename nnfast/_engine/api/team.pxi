"""How many threads pay, by trial. Part of core.pyx."""

cdef class PassTrial:
    """Whether a team pays for passes over rows, by the seconds of whole passes: results are the same.

    A team that waits for a thread which the system has put aside is slower than one thread, and so is one
    that is woken for each short pass. The slower way is tried again now and then: rarely while it loses.
    """
    cdef double alone, together     # seconds of a flop, of the last pass of one thread, of a team; 0: unknown
    cdef double next_trial, pause

    cpdef int choose(self, int threads, double now) noexcept:
        """Threads for a pass that begins now and may have this many."""
        if threads == 1 or forced_threads:
            return threads
        return threads if self.team_pays() != self.is_trial(now) else 1

    cpdef note(self, int threads, double seconds, double flops, double now):
        """Record how long the pass took that began at `now` with these threads."""
        cdef bint trial = self.is_trial(now), paid = self.team_pays()
        if threads > 1:
            self.together = seconds / flops
        else:
            self.alone = seconds / flops
        if self.team_pays() != paid:    # perhaps by bad luck
            self.pause = 0.1
            self.next_trial = now + seconds + self.pause
        elif trial:                     # of long passes it takes long
            self.pause = min(1.0, max(0.1, 2 * self.pause))
            self.next_trial = now + 50 * seconds + self.pause

    cdef bint team_pays(self) noexcept:
        return self.alone == 0 or self.together < self.alone

    cdef bint is_trial(self, double now) noexcept:
        return self.together > 0 and now > self.next_trial


cdef class TeamTrial:
    """Whether a team pays for steps, and the steps themselves; a trial may go on from call to call."""
    cdef const Kernels* k
    cdef bint team_pays         # what the last trial found
    cdef double next_trial
    cdef double pause           # from one trial to the next
    cdef int part               # how far one has come
    cdef double alone           # the seconds of a step with one thread that it found

    cdef begin(self, const Kernels* k, double expected):
        """Forget earlier trials. expected: an estimate of the seconds that a step takes with one thread."""
        self.k = k
        self.team_pays = True
        # To a step that takes 10 ms alone it matters little that a team is held up for a moment: the
        # first trial waits for ten of them.
        self.next_trial = k.now() + 10 * expected if expected > 0.01 else 0
        self.pause = 0.05
        self.part = 0

    cdef train(self, Run* run, int threads, double deadline):
        """All steps, or those until the deadline, with as many threads as serve best.

        A thread that waits for one which the system has put aside waits for milliseconds: on a busy
        machine a team is slower than one thread, by 100 times for small steps. Only a measurement
        tells, and it may be made at will, because results do not depend on the number of threads:
        both ways get a millisecond, ten times a second while the team wins, at last once while it loses.
        """
        if threads == 1 or forced_threads:
            self.segment(run, threads, deadline)
            return
        if self.k.now() > self.next_trial:
            self.try_out(run, threads, deadline)
        if self.k.now() <= deadline:
            self.segment(run, threads if self.team_pays else 1, deadline)

    cdef try_out(self, Run* run, int threads, double deadline):
        """As much of a trial as there are steps and time for; the next call goes on with it.

        A call that is over soon wakes the team each time: there the waking counts, and a call is a part.
        """
        cdef double until, waking
        if self.part == 0:
            self.alone = self.segment(run, 1, self.k.now() + TRIAL_SECONDS)
            self.part = 1
        if self.part == 1 and run.n_steps > 0 and self.k.now() <= deadline:
            until = self.k.now()    # one step wakes the team, in a short call all steps
            if self.alone * run.n_steps < 2 * TRIAL_SECONDS:
                until = min(until + TRIAL_SECONDS, deadline)
            waking = self.segment(run, threads, until)
            self.part = 2
            if waking > self.alone + 2 * TRIAL_SECONDS:     # a processor is not there: waking is faster
                self.decide(waking)
        if self.part == 2 and run.n_steps > 0 and self.k.now() <= deadline:
            self.decide(self.segment(run, threads, self.k.now() + TRIAL_SECONDS))

    cdef decide(self, double together):
        """End a trial. together: the seconds that a step of the team took."""
        self.team_pays = together < self.alone
        # One lost trial may be bad luck: the next comes as soon as after one that was won.
        self.pause = 0.1 if self.team_pays else min(1.0, 2 * self.pause)
        # A trial of long steps takes long.
        self.next_trial = self.k.now() + self.pause + 20 * self.alone
        self.part = 0

    cdef double segment(self, Run* run, int threads, double deadline):
        """Run more steps until the deadline; return the mean seconds of a step."""
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

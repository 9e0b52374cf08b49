from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


class ThreadRunner:
    def __init__(self, slots, find, result_bytes):
        self.slots = slots
        self.find = find
        self.rb = result_bytes
        self.ex = ThreadPoolExecutor(slots)
        self.flags = set()

    def start(self, call, limits, tell):
        from walnut.jobs.call import perform
        from walnut.jobs.context import Context

        ctx = Context(
            call.job,
            call.attempt,
            call.tenant,
            call.results,
            tell,
            lambda: (call.job, call.attempt) in self.flags,
        )
        return self.ex.submit(perform, call, self.find(call.target), ctx, self.rb)

    def cancel(self, call):
        self.flags.add((call.job, call.attempt))

    def kill(self, call):
        pass

    def close(self, timeout):
        self.ex.shutdown(wait=False)

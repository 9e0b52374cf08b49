from walnut.jobs.executors.threads import ThreadRunner


class ProcessRunner(ThreadRunner):
    def __init__(self, slots, rb):
        super().__init__(slots, lambda t: __import__("walnut.jobs.call").jobs.call.load(t), rb)

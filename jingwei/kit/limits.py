"""What a process that reads a stranger's file may use."""

import resource


def limit(memory: int, seconds: int):
    """Bound this process for good: bytes of memory, seconds of the processor. Beyond these it is killed."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

"""The peak of the memory that a step allocates, weights and data not counted.

On a GPU the allocator keeps the peak. On the CPU the profiler reports every allocation and release of torch's
allocator, and the peak is the largest running sum: exact, repeatable, and blind only to the scratch space inside the
matrix library. The process's own high-water mark would count that, but also whatever the step before left behind.
"""

import os

import torch
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "5")


def peak(step, device="cpu"):
    """Bytes at the peak of one step, above what was allocated before it."""
    step()  # whatever is set up once is set up now
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most

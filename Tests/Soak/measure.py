"""measure: the memory, descriptors and processes of a daemon, and whether they grow."""

import os
import re


def children(process):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == process:
                        found.append(int(name))
            except (OSError, IndexError):
                pass
    return found


def command(process):
    try:
        with open("/proc/%d/comm" % process) as file:
            return file.read().strip()
    except OSError:
        return ""


def proportional_kib(process):
    """PSS: pages that processes share are divided among them."""
    try:
        with open("/proc/%d/smaps_rollup" % process) as file:
            return int(re.search(r"^Pss: +(\d+)", file.read(), re.M).group(1))
    except OSError:
        return 0


def descriptors(process):
    return len(os.listdir("/proc/%d/fd" % process))


class Sample:
    """The daemon with the processes that it has forked of itself; and how many others it has."""

    def __init__(self, daemon, time):
        every = children(daemon)
        helpers = [child for child in every if command(child).startswith("starttlsd-")]
        self.time = time
        self.memory = proportional_kib(daemon) + sum(map(proportional_kib, helpers))
        self.descriptors = descriptors(daemon)
        self.processes = len(every)


def growth(samples, name):
    """What the line of least squares through the samples rises by, from the first to the last."""
    times = [sample.time for sample in samples]
    values = [getattr(sample, name) for sample in samples]
    time, value = sum(times) / len(times), sum(values) / len(values)
    spread = sum((one - time) ** 2 for one in times)
    slope = sum((one - time) * (other - value) for one, other in zip(times, values)) / spread
    return slope * (times[-1] - times[0])

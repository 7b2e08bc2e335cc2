"""measure: the memory, descriptors and processes of a daemon, and whether they grow."""

import collections
import os
import re


def children(process):
    return [one for one, parent in parents() if parent == process]


def descendants(process):
    """Children, their children, and so on."""
    every, found = parents(), [process]
    for one in found:
        found += [child for child, parent in every if parent == one]
    return found[1:]


def parents():
    """Each process with its parent."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as file:
                    found.append((int(name), int(file.read().rpartition(")")[2].split()[1])))
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
    try:
        return len(os.listdir("/proc/%d/fd" % process))
    except OSError:
        return 0


class Sample:
    """The daemons with the workers and processes that they have forked of themselves; and how many processes they have in all."""

    def __init__(self, daemons, time):
        every = [one for daemon in daemons for one in [daemon, *descendants(daemon)]]
        own = [one for one in every if command(one).startswith("starttlsd")]
        self.time = time
        self.memory = sum(map(proportional_kib, own))
        self.descriptors = sum(map(descriptors, own))
        self.processes = len(every)
        self.names = dict(collections.Counter(map(command, every)))


def growth(samples, name):
    """What the line of least squares through the samples rises by, from the first to the last."""
    times = [sample.time for sample in samples]
    values = [getattr(sample, name) for sample in samples]
    time, value = sum(times) / len(times), sum(values) / len(values)
    spread = sum((one - time) ** 2 for one in times)
    slope = sum((one - time) * (other - value) for one, other in zip(times, values)) / spread
    return slope * (times[-1] - times[0])

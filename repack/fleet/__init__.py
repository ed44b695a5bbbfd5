"""Many labels in one run: chosen, spread over workers, journalled, summed up.

A worker is a process that builds one label after another and keeps what they share: imports,
connections, repodata, answers. What happens to one label stays with it: a crash, a kill, a hang or
want of memory ends its worker, is that label's failure, and another worker goes on.

May import: channel, codec, fs, label, release, report, store, besides the ground modules.
"""

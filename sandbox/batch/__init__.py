"""A small cmd.exe for WebJobs: most migrated run.cmd files are a few lines, and those run here.

It runs inside a sandbox as the job's program, so it is the standard library alone, imports its own
files relatively, and knows nothing of the platform. What it does not know it refuses in words, with
the line: a batch file is never followed in part.

The order of the phases is cmd's own. Percent signs are replaced when a line is read (`expansion`),
a block with all its lines; then the text is parsed (`parser`) into nodes (`syntax`); then each node
is run (`interpreter`), with loop variables and delayed expansion at that moment.
"""

"""The code that runs inside a sandbox: cells of Python, and what is asked about files.

The host hands its text to the zygote, which imports it there as a package of its own, so nothing
here may import `chogori`: standard library only, and each other by relative imports. What is here
is ours and does what it says, but it runs beside programs that may alter it: on the host, whatever
it answers is taken as data from outside.
"""

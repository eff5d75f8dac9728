"""Where people meet the system: the command line, drawn from events. Wires rooms together.

May import every room. The environment is read here (`settings`) and nowhere below, and commands
import what they need when they run, so that `chogori --help` stays light.
"""

"""What the simulators of clouds stand on: real HTTP in a provider's own form, machines as real processes.

A simulator keeps the same promises as its provider and breaks them on demand, so that a driver, a vendor's
own client and a whole broker can be shown a bad day. Nothing here runs in production.
"""

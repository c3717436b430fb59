"""The roles that move a batch forward: planner, dispatcher, runner, finalizer, and the followers' handlers.

Promises: every line of a finished batch has exactly one outcome; a recorded outcome is never run again,
whatever dies; whoever waits is told why. Knows no HTTP server and never imports `api`.
"""

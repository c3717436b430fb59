"""What happened, as the only truth: event types, the pure rules over them, and the log that keeps them.

Promises: an event, once appended, is never changed; positions are dense and in commit order; a decision
is a pure function of the events before it; everything else the program shows can be folded again from
here. Imports `storage` only.
"""

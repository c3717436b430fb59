"""The wire: an OpenAI-compatible Batch and Files API over the log and the store.

Promises: fields, codes, messages and pagination are those of the official API, also for what goes wrong;
an answer is never stale; one project never sees another's objects. Knows no worker and never imports
`engine`.
"""

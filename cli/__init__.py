"""The command line, the settings, and the composition root that wires the other rooms for each command.

Promises: every setting has one typed home and says where its value came from; a wrong one is named;
secrets are never shown; exit codes mean what the reference says.
"""

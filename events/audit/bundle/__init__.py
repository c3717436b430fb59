"""The evidence bundle of a batch: one file that proves offline what happened to every line.

`parts` is the encoding, `contents` what the parts hold; `export` makes a bundle, `check` tells whether one
holds. docs/reference/evidence-bundle.md describes all of it for whoever writes another program.
"""

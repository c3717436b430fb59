"""Rules of the tree itself: sizes of files, and pages that are made from code."""

"""What an input file holds: its request lines, judged, indexed and read again."""

"""What was measured: samples on disk -> summaries, steps, records of runs."""

"""The state of sessions as columns: the table of rows, decayed counters, and the codec of a row in the changelog."""

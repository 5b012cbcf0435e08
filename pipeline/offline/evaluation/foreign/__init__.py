"""Foreign worlds: labelled traffic of companies by another author, replayed and compared with what really happened.

`python -m pipeline.offline.evaluation --worlds FOLDER` prints the comparison; ``--json FILE`` writes it.
"""

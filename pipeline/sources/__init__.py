"""Sources: other people's logs turned into events, one package each, plus the ground truth of labelled logs."""

"""What is in force: the policy file, the champion model and its challengers, the orders that change them, and drift."""

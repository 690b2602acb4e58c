"""What is known of figures by their names alone, without torch."""

ERRORS = frozenset({"log_loss", "root_mean_squared_error", "mean_absolute_error", "calibration_error", "loss", "perplexity"})
"""Figures of which less is better."""
WORST = -1e100
"""The merit of a figure that a state does not define: below any that one reached, and a number, as a checkpoint keeps it as JSON."""

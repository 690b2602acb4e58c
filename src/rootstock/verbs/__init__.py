"""What is done with runs: carry one out, use it, open what it left, compare several."""

"""The only place where base, task, method and data meet: prepare → build → execute → finish."""

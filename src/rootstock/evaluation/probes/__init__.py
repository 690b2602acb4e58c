"""What a model learned, its weights frozen: minimal pairs at the output, parts of speech and sentence order in each layer."""

"""The commands that make and measure the checkpoints: `python -m train.X`, from the project's root."""
